"""Lists of jobs and the counts above them, on both databases: the same jobs pass, whatever the order and the page."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from sqlalchemy import Engine, event

from app.db import reading, transaction
from app.jobs import list_queries
from app.jobs.list_queries import JobFilter, SortName, count_jobs, list_jobs, list_jobs_as_json
from app.jobs.queries import jobs_as_json, jobs_in_order, views
from app.jobs.schemas import JobPage, JobView
from app.models import Job, Series, State, Tag
from tests.app.api import EXPERT, FUSION, Service

COUNT = 60


@pytest.fixture
def jobs(database: Engine) -> list[Job]:
    rng = random.Random(0)
    with transaction(database) as session:
        for number in range(COUNT):
            job = Job(
                id=f"job_{number:026d}",
                kind=rng.choice(["expert", "fusion"]),
                name=f"run {number % 7} of job_{number % 5}",
                state=rng.choice([State.running, State.failed, State.succeeded]),
                owner=rng.choice(["alice", "bob"]),
                priority=number % 3,
                sweep="swp_1" if number % 4 == 0 else None,
                score=rng.choice([None, 0.1, 0.25, 0.5, 1 / 3]),
                spec={"dataset": {"name": "digits"}},
                defaulted=[],
            )
            session.add(job)
            session.flush()
            if number % 2:
                session.add(Tag(job_id=job.id, tag="odd"))
    with reading(database) as session:
        return [session.get_one(Job, f"job_{number:026d}") for number in range(COUNT)]


def listed(engine: Engine, filters: JobFilter, **options: Any) -> list[str]:
    """The ids on all pages."""
    ids: list[str] = []
    cursor = None
    while True:
        with reading(engine) as session:
            page = list_jobs(session, filters, limit=17, cursor=cursor, **options)
        ids += [item.id for item in page.items]
        cursor = page.next_cursor
        if cursor is None:
            return ids


FILTERS: list[dict[str, str]] = [
    {}, {"kind": "fusion"}, {"owner": "alice"}, {"tag": "odd"}, {"q": "run 3"}, {"q": "none"}, {"q": "job_3"},
    {"q": "job_0000000000000000000000004"}, {"q": "run 3", "owner": "bob"}, {"q": "run", "kind": "expert"},
    {"q": "of", "tag": "odd", "owner": "alice"}, {"q": "job"}, {"q": "%"}, {"sweep": "none"},
    {"sweep": "none", "kind": "fusion"}, {"sweep": "none", "q": "run"}, {"sweep": "swp_1"},
]  # fmt: skip


def passes(job: Job, filters: dict[str, str]) -> bool:
    q = filters.get("q", "")
    return (
        filters.get("kind", job.kind) == job.kind
        and filters.get("owner", job.owner) == job.owner
        and ("tag" not in filters or int(job.id[4:]) % 2 == 1)
        and ("sweep" not in filters or job.sweep == {"none": None}.get(filters["sweep"], filters["sweep"]))
        and (q in job.name or (q.startswith("job_") and job.id.startswith(q)))
    )


@pytest.mark.parametrize("sort", ["-created_at", "name", "-priority", "-score"])
@pytest.mark.parametrize("states", [[], [State.running], [State.running, State.failed]])
def test_lists_have_the_jobs_that_match_in_order(
    database: Engine, jobs: list[Job], sort: SortName, states: list[State]
) -> None:
    keys: dict[str, Any] = {
        "-created_at": lambda job: job.id,
        "name": lambda job: (job.name, job.id),
        "-priority": lambda job: (job.priority, job.id),
        "-score": lambda job: (job.score, job.id),
    }
    for filters in FILTERS:
        found = [job for job in jobs if passes(job, filters) and (not states or job.state in states)]
        found = [job for job in found if sort != "-score" or job.score is not None]
        expected = [job.id for job in sorted(found, key=keys[sort], reverse=sort.startswith("-"))]
        assert listed(database, JobFilter(**filters), sort=sort, states=states) == expected, filters


def test_jobs_in_a_list_are_the_same_as_alone(database: Engine, jobs: list[Job]) -> None:
    with transaction(database) as session:
        job = session.get_one(Job, jobs[0].id)
        job.name = 'a "b" ü'
        job.spec, job.defaulted, job.plan = {"name": 'a "b" ü\n', "lr": 1e-5, "big": 2**40}, ["epochs"], {"x": [None]}
        session.add(Series(job_id=job.id, key="loss", count=1, last=float("inf")))
    with reading(database) as session:
        text = list_jobs_as_json(session, JobFilter(), list(JobView.model_fields), sort="created_at", limit=COUNT)
        alone = views(session, jobs_in_order(session, [job.id for job in jobs]))
        assert json.loads(text) == json.loads(JobPage(items=alone, next_cursor=None).model_dump_json())


def test_a_view_has_what_its_own_transaction_has_changed(database: Engine, jobs: list[Job]) -> None:
    with transaction(database) as session:
        job = session.get_one(Job, jobs[0].id)
        session.add(Tag(job_id=job.id, tag="new"))
        assert views(session, [job])[0].tags == ["new"]


def test_a_job_that_is_deleted_while_a_list_is_read_is_left_out(database: Engine, jobs: list[Job]) -> None:
    with reading(database) as session:
        [shown] = jobs_as_json(session, ["job_gone", jobs[0].id], ["id", "spec"])
    assert json.loads(shown) == {"id": jobs[0].id, "spec": jobs[0].spec}


def test_counts_are_those_of_the_list(database: Engine, jobs: list[Job], monkeypatch: pytest.MonkeyPatch) -> None:
    for filters in FILTERS:
        expected = dict.fromkeys(State, 0)
        for job in jobs:
            expected[State(job.state)] += passes(job, filters)
        with reading(database) as session:
            assert count_jobs(session, JobFilter(**filters)).counts == expected, filters
    monkeypatch.setattr(list_queries, "MAX_COUNT", 3)
    for filters in ({}, {"q": "run"}):
        with reading(database) as session:
            counted = count_jobs(session, JobFilter(**filters))
        assert (counted.counts[State.running], counted.counts[State.queued], counted.limit) == (3, 0, 3)


def plan_of_list(service: Service, filters: JobFilter, options: dict[str, Any]) -> list[str]:
    """How SQLite finds the ids of a list."""
    executed: list[tuple[str, Any]] = []
    engine = service.app.state.engine
    event.listen(engine, "before_cursor_execute", lambda *args: executed.append((args[2], args[3])))
    with reading(engine) as session:
        list_jobs(session, filters, **options)
        statement, parameters = executed[0]
        rows = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        return [row[3] for row in rows]


@pytest.mark.parametrize(
    ("filters", "options"),
    [({}, {}), ({}, {"states": [State.failed]}), ({"owner": "bob"}, {}), ({"kind": "fusion"}, {}),
     ({}, {"sort": "-score"}), ({}, {"sort": "name"})],
)  # fmt: skip
def test_a_search_reads_names_from_an_index_and_not_from_the_wide_rows(
    service: Service, filters: dict[str, str], options: dict[str, Any]
) -> None:
    plan = plan_of_list(service, JobFilter(q="none", **filters), options)
    scans = [step for step in plan if step.startswith("SCAN jobs")]
    assert "SCAN jobs USING COVERING INDEX jobs_by_id_name_state" in plan or options == {"sort": "name"}
    assert all("USING COVERING INDEX" in step or "USING INDEX ix_jobs_name" in step for step in scans), plan


@pytest.mark.parametrize(
    ("filters", "options"),
    [({}, {}), ({}, {"states": [State.failed]}), ({"kind": "fusion"}, {"states": [State.queued]}),
     ({"owner": "bob"}, {"states": [State.queued]}), ({}, {"sort": "-score"}), ({}, {"sort": "-priority"}),
     ({}, {"states": [State.failed], "sort": "-score"})],
)  # fmt: skip
def test_a_list_without_the_runs_of_sweeps_reads_no_rows_to_leave_them_out(
    service: Service, filters: dict[str, str], options: dict[str, Any]
) -> None:
    plan = plan_of_list(service, JobFilter(sweep="none", **filters), options)
    assert all("COVERING INDEX" in step for step in plan if " jobs" in step), plan


def test_summaries_leave_out_the_specification(service: Service) -> None:
    service.submit(FUSION | {"tags": ["b"]})
    [whole], [summary] = (service.get(f"/jobs?{query}").json()["items"] for query in ("", "fields=summary"))
    assert whole.keys() - summary.keys() == {"spec", "defaulted", "plan"}
    assert summary == {name: whole[name] for name in summary}


@pytest.mark.parametrize("name", list(JobView.model_fields))
def test_a_list_has_the_fields_that_are_named(service: Service, name: str) -> None:
    first = service.submit(FUSION | {"tags": ["b"]})
    service.submit(FUSION | {"experts": [{"from": {"job": first, "component": "expert_0"}}], "num_experts": 2})
    whole = service.get("/jobs?sort=created_at").json()
    some = service.get(f"/jobs?sort=created_at&fields={name},id").json()
    assert some == whole | {"items": [{key: job[key] for key in job if key in ("id", name)} for job in whole["items"]]}
    [last] = service.get(f"/jobs?limit=1&fields=summary,{name}").json()["items"]
    assert last.keys() == whole["items"][1].keys() - {"spec", "defaulted", "plan"} | {name}


def test_a_list_of_fields_reads_only_what_they_need(service: Service) -> None:
    service.submit(FUSION | {"tags": ["b"]})
    statements: list[str] = []

    def record(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(service.app.state.engine, "before_cursor_execute", record)
    assert service.get("/jobs?fields=id,state,plan").json()["items"][0]["state"] == "queued"
    event.remove(service.app.state.engine, "before_cursor_execute", record)
    text = " ".join(statements).replace(chr(34), "")
    assert "jobs.plan" in text
    assert not any(name in text for name in ("jobs.spec", "jobs.defaulted", "FROM tags", "FROM series", "dependencies"))


@pytest.mark.parametrize("fields", ["", "id,", "everything", "id,specs", "ID", "id;state", "%00", "x" * 501])
def test_an_unknown_field_is_refused_with_the_allowed_ones(service: Service, fields: str) -> None:
    answer = service.get(f"/jobs?fields={fields}")
    assert answer.status_code == 422
    if len(fields) <= 500:
        assert all(name in answer.json()["detail"] for name in (*JobView.model_fields, "summary"))


def test_the_routes_filter_sort_and_count(service: Service) -> None:
    first, second = service.submit(EXPERT, "alice"), service.submit(FUSION, "bob")
    third = service.submit(EXPERT | {"name": "third"}, "alice")
    service.transition(third, State.cancelled)
    with transaction(service.app.state.engine) as session:
        session.get_one(Job, first).score = 0.5
        session.get_one(Job, second).score = 0.75

    def ids(query: str) -> list[str]:
        return [job["id"] for job in service.get(f"/jobs?{query}").json()["items"]]

    assert ids("owner=alice") == [third, first]
    assert ids("sort=-score") == [second, first]
    assert service.get("/jobs?sort=-score").json()["items"][0]["score"] == 0.75
    page = service.get("/jobs?sort=-score&limit=1").json()
    assert ids(f"sort=-score&limit=1&cursor={page['next_cursor']}") == [first]
    assert ids(f"q={second[:-1]}") == ([second] if second[:-1] != third[:-1] else [third, second])
    counted = service.get("/jobs/counts?owner=alice").json()
    assert (counted["counts"]["queued"], counted["counts"]["cancelled"], counted["limit"]) == (1, 1, 10_000)
    assert service.get("/jobs/counts?q=third").json()["counts"]["cancelled"] == 1
