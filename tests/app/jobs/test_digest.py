"""The digest: equal for jobs with equal results, different or null for all others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.jobs.digest import digest
from app.models import State
from core.spec import parse_spec, resolve
from tests.app.api import FUSION, Service

BASE = FUSION | {"name": "base", "tags": ["a"], "training": {"epochs": 2}}
EQUAL = [
    {"name": "another"}, {"tags": ["x"]}, {"priority": 3}, {"max_attempts": 9}, {"checkpoint": {"keep": 5}},
    {"tracking": {"wandb": {"mode": "offline"}}}, {"resources": {"memory_gb": 3, "time_limit_min": 9}},
    {"resources": {"hang_timeout_min": 9}},
    {"resources": {"slurm": {"partition": "p"}}}, {"fusion": {"type": "multiplicative"}}, {"num_experts": 2},
    {"training": {"epochs": 2, "seed": 42, "loss": {"alpha": 1}}},
]  # fmt: skip
DIFFERENT = [
    {"resources": {"cpus": 3}}, {"resources": {"gpus": 1}}, {"resources": {"nodes": 2}}, {"training": {"epochs": 3}},
    {"training": {"epochs": 2, "seed": 1}}, {"fusion": {"type": "concatenation"}}, {"num_experts": 3},
    {"dataset": {"split": {"seed": 1}}}, {"experts": [{"from": {"component": "cmp_" + "0" * 26}}]},
    {"training": {"epochs": 2, "deterministic": True}},
]  # fmt: skip


@pytest.mark.parametrize("change", [*EQUAL, *DIFFERENT], ids=str)
def test_the_digest_covers_exactly_what_determines_the_result(change: dict[str, Any]) -> None:
    one, other = (resolve(parse_spec(spec)).model_dump(mode="json", by_alias=True) for spec in (BASE, BASE | change))
    assert (digest(one) == digest(other)) == (change in EQUAL)
    assert digest(json.loads(json.dumps(one, sort_keys=True))) == digest(one)


def reused_job(service: Service, cpus: int) -> str | None:
    """The job that a sweep point with this many cpus would reuse."""
    body = {"base": BASE | {"resources": {"cpus": cpus}}, "grid": {"training.seed": [42]}}
    point = service.post("/sweeps?dry_run=true", body).json()["points"][0]
    return None if point["job"] is None else str(point["job"])


def change_cpus(service: Service, job_id: str, verb: str, cpus: int) -> None:
    answer = service.post(f"/jobs/{job_id}/{verb}", {"resources": {"cpus": cpus}})
    assert answer.status_code == 202, answer.text


def begin_attempt(service: Service, job_id: str, number: int) -> None:
    service.transition(job_id, State.starting, attempt=number)
    service.transition(job_id, State.running)


def test_a_job_whose_cpus_change_before_its_first_attempt_is_reused_with_the_new_cpus(service: Service) -> None:
    job_id = service.submit(BASE)
    change_cpus(service, job_id, "resume", 4)
    assert (reused_job(service, 2), reused_job(service, 4)) == (None, job_id)


@pytest.mark.parametrize(("way", "verb"), [((State.failed,), "retry"), ((State.pausing, State.paused), "resume")])
def test_a_job_that_ran_partly_with_other_cpus_is_never_reused(
    service: Service, way: tuple[State, ...], verb: str
) -> None:
    job_id = service.submit(BASE)
    begin_attempt(service, job_id, 1)
    service.transition(job_id, *way)
    change_cpus(service, job_id, verb, 4)
    begin_attempt(service, job_id, 2)
    service.transition(job_id, State.succeeded)
    assert (reused_job(service, 2), reused_job(service, 4)) == (None, None)


def test_a_job_that_returns_to_its_first_cpus_after_running_with_others_is_not_reused(service: Service) -> None:
    job_id = service.submit(BASE)
    begin_attempt(service, job_id, 1)
    service.transition(job_id, State.failed)
    for cpus in (4, 2):
        change_cpus(service, job_id, "retry" if cpus == 4 else "resume", cpus)
    assert reused_job(service, 2) is None


def test_a_retry_with_more_memory_keeps_the_job_reusable(service: Service) -> None:
    job_id = service.submit(BASE)
    begin_attempt(service, job_id, 1)
    service.transition(job_id, State.failed)
    assert service.post(f"/jobs/{job_id}/retry", {"resources": {"memory_gb": 64}}).status_code == 202
    assert reused_job(service, 2) == job_id
