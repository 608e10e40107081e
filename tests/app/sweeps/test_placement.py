"""Which job a point gets: an equal existing one or a new one, and what a retry replaces."""

from __future__ import annotations

import pytest

from app.db import transaction
from app.jobs.transitions import transition
from app.models import State
from app.sweeps.queries import STOPPED_EARLY
from tests.app.api import Service
from tests.app.sweeps.sweeping import (
    BASE,
    SUCCEEDED,
    counts,
    create,
    jobs,
    points,
    sweep,
    view,
)


def test_points_reuse_equal_jobs(service: Service) -> None:
    by_hand = service.submit(BASE | {"training": {"epochs": 2, "seed": 2}}, "alice")
    service.transition(by_hand, *SUCCEEDED)
    one = create(service, sweep({"training.seed": [1, 2]}))
    first, second = points(service, one["id"])
    assert (second["job"], second["reused"], second["state"]) == (by_hand, True, "succeeded")
    assert (first["reused"], one["reused"], one["counts"]["succeeded"]) == (False, 1, 1)
    # Unfinished jobs are reused too; of two equal points, the first creates the job.
    grid = {"training.seed": [1, 3], "fusion.type": ["simpleAddition", "additive", "multiplicative"]}
    preview = service.post("/sweeps?dry_run=true", sweep(grid)).json()
    assert (preview["count"], preview["new"], preview["reused"]) == (6, 3, 3)
    two = create(service, sweep(grid))
    items = points(service, two["id"])
    assert [point["reused"] for point in items] == [False, True, True, False, True, False]
    assert (items[2]["job"], items[0]["job"], items[3]["job"]) == (first["job"], items[1]["job"], items[4]["job"])
    assert [point["job"] for point in preview["points"]] == [None, None, first["job"], None, None, None]
    listed = {job["id"] for job in service.get(f"/jobs?sweep={two['id']}").json()["items"]}
    assert listed == {point["job"] for point in items}
    # With `fresh`, every point is trained.
    three = create(service, sweep({"training.seed": [1, 2]}, fresh=True))
    assert set(jobs(service, three["id"])).isdisjoint({by_hand, first["job"]})
    assert (three["reused"], three["counts"]["queued"]) == (0, 2)


@pytest.mark.parametrize("way", [(State.failed,), (State.cancelled,), (State.starting, State.cancelling)])
def test_failed_and_cancelled_jobs_are_not_reused(service: Service, way: tuple[State, ...]) -> None:
    job_id = service.submit(BASE)
    service.transition(job_id, *way)
    assert jobs(service, create(service, sweep({"training.seed": [42]}))["id"]) != [job_id]


def test_jobs_that_early_stopping_may_end_are_reused_only_once_they_have_succeeded(service: Service) -> None:
    one = create(service, sweep(early_stopping={}))
    assert one["early_stopping"] == {"metric": None, "mode": None, "min_epochs": 1, "reduction_factor": 3}
    ids = jobs(service, one["id"])
    service.transition(ids[0], *SUCCEEDED)
    two = points(service, create(service)["id"])
    assert [point["job"] in ids for point in two] == [True, *[False] * 5]


def test_a_retry_queues_failed_jobs_and_replaces_deleted_ones(service: Service) -> None:
    by_hand = service.submit(BASE | {"training": {"epochs": 2, "seed": 9}})
    grid = {"training.seed": [1, 2, 3, 4, 5, 9]}
    sweep_id = create(service, sweep(grid), "alice")["id"]
    failed, gone, cancelled, early, fine, _ = jobs(service, sweep_id)
    service.transition(failed, State.failed)
    service.transition(by_hand, State.failed)
    service.transition(cancelled, State.cancelled)
    service.transition(gone, State.cancelled)
    assert service.call("DELETE", f"/jobs/{gone}", "alice").status_code == 200
    with transaction(service.app.state.engine) as session:
        transition(session, early, State.cancelled, message=f"{STOPPED_EARLY}because")
    service.transition(fine, State.starting)
    before = view(service, sweep_id)
    assert counts(service, sweep_id) == {"failed": 2, "cancelled": 2, "starting": 1}
    assert (before["missing"], before["count"], before["stopped_early"]) == (1, 6, 1)
    assert [point["state"] for point in points(service, sweep_id)][1] is None
    answer = service.post(f"/sweeps/{sweep_id}/retry", user="alice")
    assert answer.status_code == 202
    assert (answer.json()["counts"]["queued"], answer.json()["missing"]) == (4, 0)
    items = points(service, sweep_id)
    assert [point["state"] for point in items] == ["queued", "queued", "queued", "cancelled", "starting", "queued"]
    assert [point["job"] for point in items][0::2] == [failed, cancelled, fine]
    assert [point["stopped_early"] for point in items] == [False] * 3 + [True] + [False] * 2
    # The reused job is left alone; its point gets a job of the sweep.
    assert service.get(f"/jobs/{by_hand}").json()["state"] == "failed"
    for number, seed in ((1, 2), (5, 9)):
        job = service.get(f"/jobs/{items[number]['job']}").json()
        assert (job["id"] not in (gone, by_hand), job["owner"]) == (True, "alice")
        assert (job["spec"]["training"]["seed"], job["name"]) == (seed, f"base seed={seed}")
    assert [point["reused"] for point in items] == [False] * 6
    again = service.post(f"/sweeps/{sweep_id}/retry", user="alice").json()
    assert (again["counts"], jobs(service, sweep_id)) == (answer.json()["counts"], [point["job"] for point in items])


def test_two_sweeps_that_lost_the_same_job_train_it_once(service: Service) -> None:
    grid = {"training.seed": [1, 2]}
    first, second = (create(service, sweep(grid))["id"] for _ in range(2))
    gone = jobs(service, first)[1]
    service.transition(gone, State.cancelled)
    assert service.call("DELETE", f"/jobs/{gone}").status_code == 200
    for sweep_id in (first, second):
        assert service.post(f"/sweeps/{sweep_id}/retry").json()["counts"]["queued"] == 2
    assert jobs(service, first) == jobs(service, second)


def test_a_retry_names_the_job_that_has_to_be_retried_first(service: Service) -> None:
    source = service.submit()
    base = BASE | {"experts": [{"from": {"job": source, "component": "expert_0"}}]}
    sweep_id = create(service, {"base": base, "grid": {"training.seed": [1]}})["id"]
    [job_id] = jobs(service, sweep_id)
    assert service.get(f"/jobs/{job_id}").json()["waits_for"] == [source]
    for ended in (source, job_id):
        service.transition(ended, State.failed)
    answer = service.post(f"/sweeps/{sweep_id}/retry")
    assert (answer.status_code, source in answer.json()["detail"]) == (409, True)
    service.post(f"/jobs/{source}/retry")
    assert service.post(f"/sweeps/{sweep_id}/retry").json()["counts"]["waiting"] == 1
