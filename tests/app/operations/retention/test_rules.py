"""Which jobs each condition of a rule selects, and which ones nothing deletes."""

from __future__ import annotations

from typing import Any

from app.db import transaction
from app.models import State, SweepPoint
from tests.app.api import FUSION, Service
from tests.app.operations.retention.ended import end, ended, existing, put, run, set_age, would_delete
from tests.app.sweeps.sweeping import create, jobs, measure, sweep


def fusion_of(job_id: str) -> dict[str, Any]:
    return FUSION | {"experts": [{"from": {"job": job_id, "component": "expert_0"}}]}


def test_every_condition_of_a_rule_selects(any_service: Service) -> None:
    service = any_service
    old, young = ended(service), ended(service, days=29.9)
    failed, cancelled = ended(service, State.failed), ended(service, State.cancelled)
    tagged, both = ended(service, tags=["a"]), ended(service, tags=["a", "b"])
    everything = {old, failed, cancelled, tagged, both}
    assert would_delete(service, {}) == everything
    assert would_delete(service, {"older_than_days": 29}) == everything | {young}
    assert would_delete(service, {"states": ["failed"]}) == {failed}
    assert would_delete(service, {"states": ["failed", "cancelled"]}) == {failed, cancelled}
    assert would_delete(service, {"tags": ["a"]}) == {tagged, both}
    assert would_delete(service, {"tags": ["a", "b"]}) == {both}
    assert would_delete(service, {"tags": ["a"], "states": ["failed"]}) == set()
    assert would_delete(service, {"tags": ["b"]}, {"states": ["cancelled"]}) == {both, cancelled}
    assert would_delete(service) == set()


def test_a_protected_tag_protects_from_every_rule(any_service: Service) -> None:
    kept, pinned, other = ended(any_service, tags=["a", "keep"]), ended(any_service, tags=["pin"]), ended(any_service)
    checkpoints = {"delete": "checkpoints"}
    assert would_delete(any_service, {}, {"tags": ["a"]}, checkpoints) == {pinned, other}
    assert would_delete(any_service, {}, checkpoints, protected_tags=["pin"]) == {kept, other}
    assert would_delete(any_service, {}, protected_tags=["keep", "pin"]) == {other}
    assert would_delete(any_service, {}, protected_tags=[]) == {kept, pinned, other}


def test_sweeps_can_be_left_out_or_be_meant_alone(any_service: Service) -> None:
    service = any_service
    alone = ended(service)
    points = set(jobs(service, create(service, sweep({"training.seed": [1, 2]}))["id"]))
    for job_id in points:
        end(service, job_id)
    assert would_delete(service, {"in_sweeps": True}) == points
    assert would_delete(service, {"in_sweeps": False}) == {alone}
    assert would_delete(service, {}) == {alone, *points}


def test_the_best_rows_of_a_leaderboard_are_spared_with_all_their_seeds(any_service: Service) -> None:
    service = any_service
    grid = {"training.loss.lambda_individual": [0.1, 0.2, 0.3, 0.4], "training.seed": [1, 2]}
    sweep_id = create(service, sweep(grid))["id"]
    points = jobs(service, sweep_id)
    # The second row is the best by its mean, although the best single run is of the first; the last has no value.
    for job_id, value in zip(points, (0.99, 0.1, 0.8, 0.7, 0.5, 0.6), strict=False):
        measure(service, job_id, "val/accuracy_fused", value)
    for job_id in points:
        end(service, job_id)
    first, second, third, last = (set(points[k : k + 2]) for k in range(0, 8, 2))
    alone = ended(service)
    rule = {"keep_best_of_sweep": 1}
    assert would_delete(service, rule) == first | third | last | {alone}
    assert would_delete(service, {"keep_best_of_sweep": 2, "in_sweeps": True}) == first | last
    assert would_delete(service, {"keep_best_of_sweep": 4, "in_sweeps": True}) == last
    # What is deleted does not change the order of what is left.
    put(service, rule)
    run(service)
    assert existing(service) == second
    assert run(service)["jobs"] == 0


def test_a_sweep_that_reuses_a_job_spares_it_while_it_runs_and_as_one_of_its_best(any_service: Service) -> None:
    service = any_service
    reused = ended(service)
    measure(service, reused, "val/accuracy_fused", 0.9)
    sweep_id = create(service, sweep({"training.seed": [7]}))["id"]
    [other] = jobs(service, sweep_id)
    with transaction(service.app.state.engine) as session:
        values = {"training.seed": 8, "fusion.type": "multiplicative"}
        session.add(SweepPoint(sweep_id=sweep_id, number=1, job_id=reused, point_values=values, reused=True))
    # As long as that sweep runs, its other results are compared with this one.
    assert would_delete(service, {}) == set()
    end(service, other)
    assert would_delete(service, {"keep_best_of_sweep": 1}) == {other}
    assert would_delete(service, {"in_sweeps": False}) == set()
    assert would_delete(service, {"in_sweeps": True}) == {reused, other}


def test_no_job_of_a_running_sweep_is_deleted(any_service: Service) -> None:
    service = any_service
    points = jobs(service, create(service, sweep({"training.seed": [1, 2]}))["id"])
    end(service, points[0])
    rules: list[dict[str, Any]] = [{}, {"delete": "checkpoints"}, {"keep_best_of_sweep": 1}]
    assert would_delete(service, *rules) == set()
    end(service, points[1], State.failed)
    assert would_delete(service, {}) == set(points)


def test_unfinished_jobs_and_what_they_need_are_never_deleted(any_service: Service) -> None:
    service = any_service
    needed, queued = service.submit(), service.submit()
    user = service.submit(fusion_of(needed))
    end(service, needed)
    running, paused = service.submit(), service.submit()
    service.transition(running, State.starting, State.running)
    service.transition(paused, State.starting, State.running, State.pausing, State.paused)
    for job_id in (queued, user, running, paused):
        set_age(service, job_id, 40)
    assert would_delete(service, {}) == set()
    # Its checkpoints are no component.
    assert would_delete(service, {}, {"delete": "checkpoints"}) == {needed}
    service.transition(user, State.cancelled)
    set_age(service, user, 1)
    assert would_delete(service, {}) == {needed}


def test_a_control_stays_as_long_as_the_job_that_is_compared_with_it(any_service: Service) -> None:
    service = any_service
    main = service.submit(FUSION | {"controls": True})
    rows = service.get(f"/jobs/{main}/controls").json()["items"]
    controls = {row["job"] for row in rows if row["job"]}
    assert controls
    for job_id in controls:
        end(service, job_id)
    assert would_delete(service, {}) == set()
    end(service, main, days=20)
    assert would_delete(service, {}) == set()
    assert would_delete(service, {"older_than_days": 10, "tags": ["control"]}) == set()
    assert would_delete(service, {"older_than_days": 10}) == controls | {main}
    report = run(service)
    assert report["items"][0]["job"] == main
    assert existing(service) == set()


def test_the_first_rule_that_deletes_a_job_counts_and_jobs_come_before_checkpoints(any_service: Service) -> None:
    tagged, other = ended(any_service, tags=["a"]), ended(any_service)
    put(any_service, {"delete": "checkpoints"}, {"tags": ["a"]}, {"tags": ["a"], "older_than_days": 1})
    items = {item["job"]: (item["rule"], item["what"]) for item in run(any_service, dry_run=True)["items"]}
    assert items == {tagged: ("rule 1", "job"), other: ("rule 0", "checkpoints")}


def test_a_job_that_ended_before_its_first_attempt_has_no_checkpoints(service: Service) -> None:
    job_id = service.submit()
    service.transition(job_id, State.cancelled)
    set_age(service, job_id, 40)
    assert would_delete(service, {"delete": "checkpoints"}) == set()
    assert would_delete(service, {}) == {job_id}
