"""Components of all jobs, on both databases: filtered, sorted and paged."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event

from app.db import reading, transaction
from app.models import Component, Job
from app.results.components.queries import ComponentFilter, ComponentSort, list_all_components
from tests.app.api import EXPERT, Service

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
# Name, role, architecture, data set, score, minutes after the first.
ROWS = [
    ("expert_0", "expert", "resnet18", "cifar100", 0.5, 3),
    ("expert_1", "expert", "convnet_small", "cifar100", 0.75, 1),
    ("fusion", "fusion", None, "cifar100", 0.5, 3),
    ("head", "head", None, "cifar100", None, 0),
]


def add_components(engine: Engine, *job_ids: str) -> None:
    entry = {"file": "blob", "name": "x.pth", "bytes": 4, "sha256": "0" * 64}
    with transaction(engine) as session:
        for job_id in job_ids:
            for number, (name, role, arch, dataset, score, minutes) in enumerate(ROWS):
                session.add(
                    Component(
                        id=f"cmp_{job_id}{number}", job_id=job_id, name=name, role=role, epoch=1, arch=arch,
                        metrics={}, selected_by="val/accuracy", config={}, dataset=dataset,
                        score=score, files={"pth": entry, "safetensors": entry},
                        created_at=FIRST + timedelta(minutes=minutes, microseconds=7),
                    )
                )  # fmt: skip


@pytest.fixture
def engine(database: Engine) -> Engine:
    with transaction(database) as session:
        for job_id, name in (("a", "first run"), ("b", "second run")):
            session.add(Job(id=job_id, kind="fusion", name=name, state="running", owner="x", spec={}, defaulted=[]))
    add_components(database, "a", "b")
    return database


def listed(engine: Engine, filters: ComponentFilter | None = None, **options: Any) -> list[str]:
    """The ids on all pages."""
    ids: list[str] = []
    cursor = None
    while True:
        with reading(engine) as session:
            page = list_all_components(session, filters or ComponentFilter(), limit=3, cursor=cursor, **options)
        ids += [row.id.removeprefix("cmp_") for row, _ in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            return ids


def test_the_newest_or_the_best_come_first(engine: Engine) -> None:
    assert listed(engine) == ["b2", "b0", "a2", "a0", "b1", "a1", "b3", "a3"]
    assert listed(engine, sort="-score") == ["b1", "a1", "b2", "b0", "a2", "a0"]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (ComponentFilter(role="expert"), ["b0", "a0", "b1", "a1"]),
        (ComponentFilter(arch="resnet18"), ["b0", "a0"]),
        (ComponentFilter(dataset="digits"), []),
        (ComponentFilter(job="a", role="head"), ["a3"]),
        (ComponentFilter(q="second"), ["b2", "b0", "b1", "b3"]),
        (ComponentFilter(q="cmp_a"), ["a2", "a0", "a1", "a3"]),
        (ComponentFilter(q="c"), ["b2", "b0", "b1", "b3"]),
        (ComponentFilter(q="%"), []),
    ],
)
def test_filters_narrow_the_list(engine: Engine, filters: ComponentFilter, expected: list[str]) -> None:
    assert listed(engine, filters) == expected


@pytest.mark.parametrize("filters", [ComponentFilter(), ComponentFilter(role="expert"), ComponentFilter(q="none")])
@pytest.mark.parametrize("sort", ["-created_at", "-score"])
def test_a_page_is_chosen_from_indexes_and_not_from_the_wide_rows(
    service: Service, filters: ComponentFilter, sort: ComponentSort
) -> None:
    executed: list[tuple[str, Any]] = []
    engine = service.app.state.engine
    event.listen(engine, "before_cursor_execute", lambda *args: executed.append((args[2], args[3])))
    with reading(engine) as session:
        list_all_components(session, filters, sort=sort)
        statement, parameters = executed[0]
        plan = [row[3] for row in session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
    steps = [step for step in plan if not step.startswith("LIST SUBQUERY")]
    assert all("USING COVERING INDEX" in step for step in steps), plan


def test_the_routes_show_the_job_and_what_a_component_is_chosen_by(service: Service) -> None:
    job_id = service.submit(EXPERT)
    add_components(service.app.state.engine, job_id)
    [shown] = service.get("/components?sort=-score&limit=1").json()["items"]
    assert shown == service.get(f"/components/{shown['id']}").json()
    assert shown == service.get(f"/jobs/{job_id}/components").json()["items"][1]
    names = ("name", "job", "job_name", "score", "arch", "dataset", "created_at")
    assert [shown[name] for name in names] == [
        "expert_1", job_id, "one", 0.75, "convnet_small", "cifar100", "2026-01-01T00:01:00.000Z",
    ]  # fmt: skip
    answer = service.get("/components/cmp_none")
    assert (answer.status_code, answer.json()["type"]) == (404, "not-found")
