"""The outline in a dry run knows what the components will be that a job names, saved or not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from app.db import now, transaction
from app.models import Attempt, Component, State
from tests.app.api import EXPERT, FUSION, Service

NARROW = EXPERT | {"expert": {"arch": "convnet_small", "feature_dim": 16}}


def dry_run(service: Service, spec: dict[str, Any]) -> dict[str, Any]:
    answer = service.post("/jobs?dry_run=true", spec)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def outlined(service: Service, spec: dict[str, Any]) -> dict[str, Any]:
    return dict(dry_run(service, spec)["outline"])


def test_a_dry_run_outlines_the_job(service: Service) -> None:
    shown = outlined(service, FUSION | {"training": {"epochs": 3}})
    assert (shown["feature_dims"], shown["input_dim"], shown["adapters"]) == ([64, 64], 64, [])
    assert shown["parameters"]["head"] == 650
    assert shown["steps"] == 3 * shown["steps_per_epoch"]
    assert shown["learning_rates_why"]["head"].startswith("0.0005 for multiplicative")


def test_components_that_are_not_saved_yet_are_those_that_their_job_plans(service: Service) -> None:
    first = service.submit(NARROW)
    joint = FUSION | {"experts": [{"from": {"job": first, "component": "expert_0"}}]}
    second = service.submit(FUSION | {"fusion": {"type": "concatenation", "hidden_dim": 12}})
    assert outlined(service, joint)["feature_dims"] == [16, 16]
    refs = [{"from": {"job": second, "component": f"expert_{k}"}} for k in range(2)]
    head = {"kind": "head", "experts": refs, "fusion": {"from": {"job": second, "component": "fusion"}}}
    shown = outlined(service, head)
    assert (shown["input_dim"], shown["notes"]) == (64, [])
    assert shown["parameters"]["fusion"] == 2 * 2 * 64 + (128 * 12 + 12) + (12 * 64 + 64)
    # A job that leaves its own architecture to another one says nothing about it.
    third = service.submit(joint)
    chained = FUSION | {"experts": [{"from": {"job": third, "component": "expert_0"}}]}
    assert "not known yet" in outlined(service, chained)["notes"][0]


def test_saved_components_bring_their_configs(service: Service) -> None:
    job_id = service.submit(NARROW)
    config = {"role": "expert", "arch": "convnet_small", "options_feature_dim": 24, "classes": [0, 1]}
    row: dict[str, Any] = {"role": "expert", "epoch": 1, "metrics": {}, "selected_by": "x", "files": {}}
    with transaction(service.app.state.engine) as session:
        session.add(Component(id="cmp_1", job_id=job_id, name="expert_0", config=config, **row))
    shown = outlined(service, FUSION | {"experts": [{"from": {"job": job_id, "component": "expert_0"}}]})
    assert shown["feature_dims"] == [24, 24]
    assert shown["new_expert_heads"] == ["expert_0", "expert_1"]


def test_the_cost_follows_from_similar_jobs(service: Service) -> None:
    spec = EXPERT | {"training": {"epochs": 10}}
    job_id = service.submit(spec)
    service.transition(job_id, State.starting, State.succeeded)
    with transaction(service.app.state.engine) as session:
        end = now()
        times: dict[str, Any] = {"started_at": end - timedelta(hours=1), "ended_at": end}
        session.add(Attempt(job_id=job_id, number=1, executor="local", host="here", devices=["0", "1"], **times))
    estimate = dry_run(service, spec | {"training": {"epochs": 20}})["estimate"]
    assert (estimate["gpu_hours"], estimate["based_on"]) == (4.0, 1)
    other = dry_run(service, FUSION)["estimate"]
    assert (other["gpu_hours"], "points" in other["why"]) == (None, False)
    untold = {"kind": "expert", "expert": {"from": {"job": job_id, "component": "expert_0"}}}
    assert service.post("/jobs?dry_run=true", untold).status_code == 422
