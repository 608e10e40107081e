"""A run of the policy: what it deletes, that a dry run says the same, and that nothing is left half done."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlmodel import select

from app.db import make_engine, reading, transaction
from app.http.errors import Conflict
from app.jobs import deletion
from app.models import FileDeletion, Job, Retention, State
from app.operations.retention import routes
from app.operations.retention.run import MAX_ITEMS
from app.operations.retention.run import run as run_policy
from app.settings import Settings
from core.run.rundir import RunDir
from tests.app.api import EXPERT, FUSION, Service
from tests.app.jobs.explaining import explain, set_job
from tests.app.operations.backup.services import files_below
from tests.app.operations.records import Records
from tests.app.operations.retention.ended import end, ended, existing, put, run, set_age


class KilledError(BaseException):
    """Ends a call as if the process were killed."""


def killed(*_arguments: Any, **_options: Any) -> None:
    raise KilledError


def file_deletions(service: Service) -> list[str]:
    with reading(service.app.state.engine) as session:
        return list(session.exec(select(FileDeletion.job_id)))


def run_dir(service: Service, job_id: str) -> RunDir:
    return RunDir(service.settings.runs_dir / job_id)


def test_a_dry_run_changes_nothing_and_the_run_does_what_it_says(any_service: Service) -> None:
    service = any_service
    first, second = ended(service, days=50), ended(service, State.failed, tags=["a"])
    young, kept = ended(service, days=1), ended(service, tags=["keep"])
    put(service, {"states": ["succeeded"]}, {"tags": ["a"], "delete": "checkpoints"})
    before = files_below(service.settings.runs_dir)
    expected = run(service, dry_run=True)
    assert files_below(service.settings.runs_dir) == before
    assert existing(service) == {first, second, young, kept}
    assert (expected["jobs"], expected["checkpoints"], expected["complete"]) == (1, 1, True)
    job = {"job": first, "name": "one", "owner": "admin", "rule": "rule 0", "what": "job"}
    contents = [content for name, content in before.items() if name.startswith(first)]
    # A component has two names.
    size = sum(map(len, contents)) - len("weights of an expert")
    assert expected["items"][0] == job | {"bytes_freed": size}
    assert expected["items"][1]["bytes_freed"] == len("weights of step 3" + "{}" + "half")
    assert expected["bytes_freed"] == sum(item["bytes_freed"] for item in expected["items"])
    done = run(service)
    assert done == expected | {"dry_run": False}
    assert existing(service) == {second, young, kept}
    gone = before.keys() - files_below(service.settings.runs_dir).keys()
    assert {name.split("/")[0] for name in gone} == {first, second}
    assert {name.split("/")[1] for name in gone if name.startswith(second)} == {"checkpoints"}
    assert (run_dir(service, first).path.exists(), file_deletions(service)) == (False, [])
    [recorded] = service.get("/retention", "eve").json()["runs"]
    assert recorded["started_by"] == "admin"
    assert {name: recorded[name] for name in ("jobs", "checkpoints", "bytes_freed")} == {
        "jobs": 1, "checkpoints": 1, "bytes_freed": expected["bytes_freed"],
    }  # fmt: skip
    # Nothing is left to do, so this run is not recorded.
    assert run(service)["items"] == []
    assert len(service.get("/retention").json()["runs"]) == 1


def test_a_job_without_checkpoints_does_not_claim_to_resume(any_service: Service) -> None:
    job_id = ended(any_service, State.failed)
    set_job(any_service, job_id, reason="preempted")
    assert "Retry it: it resumes from its latest checkpoint." in explain(any_service, job_id)["evidence"]
    put(any_service, {"delete": "checkpoints"})
    run(any_service)
    assert not run_dir(any_service, job_id).checkpoints.exists()
    assert run_dir(any_service, job_id).components.exists()
    assert explain(any_service, job_id)["evidence"] == [
        "Retry it.",
        "Its checkpoints were deleted, so a retry starts from the beginning.",
    ]
    any_service.post(f"/jobs/{job_id}/retry")
    starts_again = "It starts from the beginning, because its checkpoints were deleted."
    assert starts_again in explain(any_service, job_id)["evidence"]
    # The next attempt writes checkpoints of its own, which are deleted when the job is old again.
    any_service.transition(job_id, State.starting, attempt=2)
    any_service.transition(job_id, State.failed)
    set_age(any_service, job_id, 40)
    set_job(any_service, job_id, reason="preempted")
    assert "Retry it: it resumes from its latest checkpoint." in explain(any_service, job_id)["evidence"]
    assert run(any_service)["checkpoints"] == 1


def test_the_size_of_a_job_whose_checkpoints_were_deleted_is_that_of_the_rest(service: Service) -> None:
    job_id = ended(service)
    with transaction(service.app.state.engine) as session:
        session.get_one(Job, job_id).size_bytes = deletion.size_of_job(service.settings, job_id)
    put(service, {"delete": "checkpoints"})
    assert run(service)["bytes_freed"] > 0
    with reading(service.app.state.engine) as session:
        assert session.get_one(Job, job_id).size_bytes == deletion.size_of_job(service.settings, job_id)


def test_a_cancelled_job_without_checkpoints_says_so(service: Service) -> None:
    job_id = ended(service, State.cancelled)
    assert explain(service, job_id)["evidence"] == []
    put(service, {"delete": "checkpoints"})
    run(service)
    starts_again = "Its checkpoints were deleted, so a retry starts from the beginning."
    assert explain(service, job_id)["evidence"] == [starts_again]


@pytest.mark.parametrize("what", ["job", "checkpoints"])
def test_killed_before_the_files_are_removed_the_next_worker_removes_them(
    any_service: Service, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    service, job_id = any_service, ended(any_service)
    put(service, {"delete": what})
    engine, settings = service.app.state.engine, service.settings
    with monkeypatch.context() as patched:
        patched.setattr(deletion, "_remove_files", killed)
        with pytest.raises(KilledError):
            run_policy(engine, settings, "test")
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", killed)
        with pytest.raises(KilledError):
            deletion.remove_leftovers(engine, settings)
    # For users it is done.
    assert existing(service) == (set() if what == "job" else {job_id})
    assert files_below(run_dir(service, job_id).path)
    assert file_deletions(service) == [job_id]
    assert run(service)["items"] == []
    deletion.remove_leftovers(engine, settings)
    assert file_deletions(service) == []
    left = files_below(settings.runs_dir)
    assert not any("checkpoint" in name for name in left)
    assert bool(left) == (what == "checkpoints")


def test_killed_before_the_commit_nothing_has_happened(any_service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = ended(any_service)
    put(any_service, {})
    before = files_below(any_service.settings.runs_dir)
    with monkeypatch.context() as patched:
        patched.setattr("app.operations.retention.queries.add_to_run", killed)
        with pytest.raises(KilledError):
            run_policy(any_service.app.state.engine, any_service.settings, "test")
    assert (existing(any_service), files_below(any_service.settings.runs_dir)) == ({job_id}, before)
    assert any_service.get("/retention").json()["runs"] == []
    assert run(any_service)["jobs"] == 1


def test_checkpoints_of_a_job_that_is_retried_before_they_are_removed_stay(
    any_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, job_id = any_service, ended(any_service, State.failed)
    put(service, {"delete": "checkpoints"})
    with monkeypatch.context() as patched:
        patched.setattr(deletion, "_remove_files", killed)
        with pytest.raises(KilledError):
            run_policy(service.app.state.engine, service.settings, "test")
    assert service.post(f"/jobs/{job_id}/retry").status_code == 202
    deletion.remove_leftovers(service.app.state.engine, service.settings)
    assert run_dir(service, job_id).checkpoints.exists()
    assert file_deletions(service) == []


def test_runs_at_the_same_time_delete_everything_once(any_service: Service) -> None:
    service = any_service
    jobs = {ended(service) for _ in range(12)}
    put(service, {})
    url = service.app.state.engine.url.render_as_string(hide_password=False)
    engines = [make_engine(url) for _ in range(3)]
    with ThreadPoolExecutor(len(engines)) as pool:
        runs = [pool.submit(run_policy, engine, service.settings, "test") for engine in engines]
        reports = [done.result() for done in runs]
    for engine in engines:
        engine.dispose()
    deleted = [item.job for report in reports for item in report.items]
    assert (sorted(deleted), existing(service)) == (sorted(jobs), set())
    assert sum(recorded["jobs"] for recorded in service.get("/retention").json()["runs"]) == len(jobs)
    assert files_below(service.settings.runs_dir) == {}


def test_what_changes_after_it_was_planned_is_checked_again(
    any_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = any_service
    retried, needed, other = ended(service, State.failed), service.submit(), ended(service)
    failed_again = ended(service, State.failed)
    fusion = FUSION | {"experts": [{"from": {"job": needed, "component": "expert_0"}}]}
    user = service.submit(fusion)
    end(service, needed)
    service.transition(user, State.cancelled)
    put(service, {})
    real, planned = deletion.size_of_job, list[str]()

    def size_of_job(settings: Any, job_id: str) -> int:
        if not planned:
            service.post(f"/jobs/{retried}/retry")
            service.transition(user, State.queued)
            service.post(f"/jobs/{failed_again}/retry")
            service.transition(failed_again, State.starting, State.failed)
        planned.append(job_id)
        return real(settings, job_id)

    monkeypatch.setattr(deletion, "size_of_job", size_of_job)
    report = run(service)
    assert set(planned) == {retried, failed_again, needed, other}
    assert [item["job"] for item in report["items"]] == [other]
    assert existing(service) == {retried, failed_again, needed, user}


def test_a_job_that_is_needed_at_the_last_moment_stays(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    needed, other = ended(service, days=50), ended(service)
    put(service, {})
    real = deletion.delete_job

    def delete_job(session: Any, settings: Any, job: Job) -> None:
        if job.id == needed:
            raise Conflict("another one still needs its components")
        real(session, settings, job)

    monkeypatch.setattr(deletion, "delete_job", delete_job)
    assert [item["job"] for item in run(service)["items"]] == [other]
    assert existing(service) == {needed}


def test_a_changed_policy_ends_the_run_of_the_one_before(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        ended(service)
    put(service, {})
    real = deletion.delete_job

    def delete_job(session: Any, settings: Any, job: Job) -> None:
        real(session, settings, job)
        session.get_one(Retention, 1).revision += 1

    monkeypatch.setattr(deletion, "delete_job", delete_job)
    report = run(service)
    assert (report["jobs"], report["complete"], len(existing(service))) == (1, False, 2)


def test_a_run_that_is_over_its_time_says_that_there_is_more(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = {ended(service) for _ in range(3)}
    put(service, {})
    monkeypatch.setattr(routes, "RUN_LIMIT_S", 0.0)
    report = run(service, dry_run=True)
    assert (report["jobs"], report["complete"], report["bytes_freed"]) == (3, False, 0)
    assert {item["bytes_freed"] for item in report["items"]} == {None}
    report = run(service)
    assert (report["jobs"], report["complete"], existing(service)) == (0, False, jobs)


def test_a_long_report_lists_the_first_jobs_and_counts_all(service: Service) -> None:
    jobs = [service.submit(EXPERT | {"name": str(number)}) for number in range(MAX_ITEMS + 1)]
    with transaction(service.app.state.engine) as session:
        for row in session.exec(select(Job)):
            row.state, row.finished_at = State.failed.value, row.created_at
    put(service, {"older_than_days": 0})
    report = run(service, dry_run=True)
    assert (report["jobs"], [item["job"] for item in report["items"]]) == (MAX_ITEMS + 1, jobs[:-1])


def test_a_deletion_is_logged_with_its_fields(service: Service) -> None:
    job_id = ended(service)
    put(service, {"name": "old ones"})
    size = deletion.size_of_job(service.settings, job_id)
    with Records(Settings(data_dir=service.settings.data_dir, log_format="json")) as records:
        run_policy(service.app.state.engine, service.settings, "test")
    [record] = records.all()
    assert record.pop("time")
    assert record == {
        "level": "warning",
        "logger": "app.operations.retention.run",
        "message": f"retention deleted {job_id}, by the rule 'old ones'",
        "job_id": job_id,
        "rule": "old ones",
        "bytes_freed": size,
    }


def test_files_that_cannot_be_removed_are_tried_again(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = service.submit()
    end(service, job_id)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", lambda *_, **__: None)
        assert service.call("DELETE", f"/jobs/{job_id}").status_code == 200
    assert file_deletions(service) == [job_id]
    deletion.remove_leftovers(service.app.state.engine, service.settings)
    assert (file_deletions(service), files_below(service.settings.runs_dir)) == ([], {})
