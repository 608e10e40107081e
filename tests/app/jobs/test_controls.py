"""Controls: created with the job, shared by identity, listed, and absent with a reason."""

from __future__ import annotations

from typing import Any

import pytest

from app.models import State
from tests.app.api import EXPERT, FUSION, Service

SUCCEEDED = (State.starting, State.running, State.succeeded)
WHOLE = FUSION | {"dataset": {"name": "digits"}, "training": {"epochs": 3, "seed": 5}, "controls": True}


def controls(service: Service, job_id: str) -> dict[str, dict[str, Any]]:
    return {row["role"]: row for row in service.get(f"/jobs/{job_id}/controls").json()["items"]}


def on_experts(service: Service) -> dict[str, Any]:
    """A fusion job of two experts of other jobs, each trained on its own shard."""
    split = {"regime": "class_shards", "num_shards": 2, "holdout": 0.4}
    dataset = {"name": "digits", "split": split}
    shared = {"dataset": dataset, "training": {"epochs": 4, "batch_size": 32, "seed": 8}}
    ids = [service.submit(EXPERT | shared | {"expert": {"arch": "convnet_small", "shard": k}}) for k in range(2)]
    experts = [{"from": {"job": job_id, "component": "expert_0"}} for job_id in ids]
    return {"kind": "fusion", "name": "pair", "experts": experts, "dataset": dataset, "controls": True}


def test_a_job_without_controls_has_none(service: Service) -> None:
    assert controls(service, service.submit(FUSION)) == {}
    assert service.get("/jobs").json()["items"][0]["spec"]["controls"] is False


def test_controls_are_jobs_of_the_same_owner_that_start_after_it(service: Service) -> None:
    job_id = service.submit(WHOLE, "alice")
    result = controls(service, job_id)
    assert list(result) == ["single_0", "single_1", "matched", "frozen"]
    assert result["frozen"]["absent"] == "experts that start untrained would stay so if they were frozen"
    job = service.get(f"/jobs/{result['single_1']['job']}").json()
    assert (job["owner"], job["priority"], job["tags"], job["state"]) == ("alice", -1, ["control"], "queued")
    assert (job["spec"]["training"]["seed"], job["spec"]["dataset"]["split"]["regime"]) == (6, "full")
    assert job["name"] == "control: one convnet_small on all of digits, seed 6"


def test_a_dry_run_lists_the_controls_and_stores_nothing(service: Service) -> None:
    answer = service.post("/jobs?dry_run=true", WHOLE).json()
    assert [row["role"] for row in answer["controls"]] == ["single_0", "single_1", "matched", "frozen"]
    assert answer["controls"][3]["absent"] == "experts that start untrained would stay so if they were frozen"
    assert service.post("/jobs?dry_run=true", WHOLE | {"controls": False}).json()["controls"] == []
    assert service.get("/jobs").json()["items"] == []


def test_single_networks_are_trained_as_the_experts_were_and_wait_for_nobody(service: Service) -> None:
    job_id = service.submit(on_experts(service))
    result = controls(service, job_id)
    single = service.get(f"/jobs/{result['single_0']['job']}").json()
    assert (single["spec"]["training"]["epochs"], single["spec"]["training"]["batch_size"]) == (4, 32)
    assert (single["spec"]["dataset"]["split"]["holdout"], single["state"]) == (0.0, "queued")
    frozen = service.get(f"/jobs/{result['frozen']['job']}").json()
    assert frozen["spec"]["training"]["components"]["experts"]["frozen"] is True
    assert (frozen["state"], len(frozen["waits_for"])) == ("waiting", 2)


def test_equal_controls_are_shared(service: Service) -> None:
    first = controls(service, service.submit(WHOLE))
    service.transition(first["single_0"]["job"], *SUCCEEDED)
    other = WHOLE | {"fusion": {"type": "concatenation"}}
    second = controls(service, service.submit(other))
    for role in ("single_0", "single_1"):
        assert (second[role]["job"], second[role]["reused"]) == (first[role]["job"], True)
    assert second["matched"]["job"] != first["matched"]["job"]


def test_controls_without_predictions_are_not_shared_with_a_job_that_needs_them(service: Service) -> None:
    without = controls(service, service.submit(WHOLE | {"evaluation": {"store_predictions": False}}))
    first = controls(service, service.submit(WHOLE))
    second = controls(service, service.submit(WHOLE | {"fusion": {"type": "concatenation"}}))
    assert first["single_0"]["job"] not in {row["job"] for row in without.values()}
    assert second["single_0"]["job"] == first["single_0"]["job"]


def test_controls_of_one_sweep_are_not_shared_with_points_that_store_no_predictions(service: Service) -> None:
    sweep = {"base": WHOLE, "grid": {"evaluation.store_predictions": [False, "auto"]}}
    sweep_id = service.post("/sweeps", sweep).json()["id"]
    result = [
        controls(service, str(point["job"])) for point in service.get(f"/sweeps/{sweep_id}/points").json()["items"]
    ]
    assert len({of_point["single_0"]["job"] for of_point in result}) == 2


def test_a_deleted_control_is_reported_as_that(service: Service) -> None:
    job_id = service.submit(WHOLE)
    control = controls(service, job_id)["single_0"]["job"]
    service.transition(control, State.cancelled)
    assert service.call("DELETE", f"/jobs/{control}").status_code == 200
    assert controls(service, job_id)["single_0"]["absent"] == "the job has been deleted"


def test_a_sweep_gives_every_point_its_controls_and_shares_them(service: Service) -> None:
    grid = {"fusion.type": ["multiplicative", "simpleAddition"], "training.seed": [1, 2]}
    answer = service.post("/sweeps", {"base": WHOLE, "grid": grid})
    assert answer.status_code == 201, answer.text
    sweep_id = answer.json()["id"]
    points = service.get(f"/sweeps/{sweep_id}/points").json()["items"]
    result = [controls(service, str(point["job"])) for point in points]
    singles = {role: {of_point[role]["job"] for of_point in result} for role in ("single_0", "single_1")}
    # Seeds 1 and 2 of the first network, 2 and 3 of the second one, whatever the fusion type.
    assert {role: len(ids) for role, ids in singles.items()} == {"single_0": 2, "single_1": 2}
    assert len(singles["single_0"] | singles["single_1"]) == 3
    assert answer.json()["count"] == 4


def test_a_large_sweep_cannot_have_controls_at_every_point(service: Service) -> None:
    answer = service.post("/sweeps?dry_run=true", {"base": WHOLE, "grid": {"training.seed": list(range(501))}})
    assert answer.status_code == 422
    assert "at most 500 may have them" in answer.json()["errors"][0]["msg"]


@pytest.mark.parametrize("kind", ["expert", "evaluate"])
def test_only_fusion_jobs_have_controls(service: Service, kind: str) -> None:
    answer = service.post("/jobs", EXPERT | {"kind": kind, "controls": True})
    assert answer.status_code == 422
    assert any(error["loc"] == ["controls"] for error in answer.json()["errors"])


def reason_of(service: Service, spec: dict[str, Any]) -> str:
    """Why a fusion job has no single network."""
    answer = service.post("/jobs?dry_run=true", spec)
    assert answer.status_code == 200, answer.text
    [single, *_] = answer.json()["controls"]
    assert single["role"] == "single_0"
    assert single["name"] is None
    return str(single["absent"])


def test_there_is_no_single_network_where_the_experts_saw_other_images_than_it_would(service: Service) -> None:
    spec = on_experts(service)
    some = spec | {"experts": [spec["experts"][0], {"arch": "convnet_small"}]}
    assert reason_of(service, some).startswith("the experts saw shard 0 of 2, and no job of one network")
    untrained = [{"arch": "convnet_small"}]
    joint = service.submit(spec | {"experts": untrained, "num_experts": 2, "controls": False})
    of_joint = spec | {"experts": [{"from": {"job": joint, "component": f"expert_{k}"}} for k in range(2)]}
    assert reason_of(service, of_joint).startswith("experts and fusion trained on the hold-out alone (40%")
    assert "was trained on another dataset" in reason_of(service, of_joint | {"dataset": {"name": "cifar10"}})
    complete = {"from": {"job": joint, "component": "complete"}}
    assert reason_of(service, of_joint | {"experts": [complete] * 2}).startswith("experts and fusion trained on")
    continued = service.submit(EXPERT | {"dataset": spec["dataset"], "expert": spec["experts"][0]})
    experts = [{"from": {"job": continued, "component": "expert_0"}}, spec["experts"][1]]
    assert reason_of(service, spec | {"experts": experts}).startswith("expert 0 started from a component itself")


def test_single_networks_of_untrained_experts_have_the_settings_of_the_job(service: Service) -> None:
    training = {"epochs": 3, "batch_size": 48, "precision": "float32", "augmentation": "none"}
    result = controls(service, service.submit(WHOLE | {"training": training}))
    own = service.get(f"/jobs/{result['single_0']['job']}").json()["spec"]["training"]
    assert {name: own[name] for name in training} == training | {"epochs": 30}
