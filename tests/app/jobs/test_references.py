"""References to components of other jobs: what a job waits for, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from app.db import transaction
from app.models import Component, State
from tests.app.api import FUSION, Service


def test_a_job_waits_for_the_jobs_whose_components_it_references(service: Service) -> None:
    first = service.submit()
    spec = FUSION | {"experts": [{"from": {"job": first, "component": "expert_0"}}, {"arch": "convnet_small"}]}
    second = service.post("/jobs", spec).json()
    assert (second["state"], second["waits_for"]) == ("waiting", [first])
    assert service.post("/jobs?dry_run=true", spec).json()["waits_for"] == [first]
    for field, ref, message in [
        ("experts", {"job": "job_" + "0" * 26, "component": "expert_0"}, "there is no job"),
        ("experts", {"job": first, "component": "expert_1"}, "it has expert_0"),
        ("experts", {"job": second["id"], "component": "fusion"}, "has the role fusion; this field needs the role exp"),
        ("experts", {"component": "cmp_" + "0" * 26}, "there is no component"),
        ("experts", {"path": "/etc/passwd"}, "does not accept file paths"),
        ("fusion", {"job": first, "component": "expert_0"}, "has the role expert; this field needs the role fusion"),
    ]:
        wrong = FUSION | ({"experts": [{"from": ref}] * 2} if field == "experts" else {"fusion": {"from": ref}})
        answer = service.post("/jobs", wrong)
        assert answer.status_code == 422
        assert message in answer.json()["detail"], answer.json()
        assert answer.json()["errors"][0]["loc"][0] == field
    service.transition(first, State.cancelled)
    answer = service.post("/jobs", spec)
    assert (answer.status_code, "was cancelled without saving" in answer.json()["detail"]) == (422, True)
    assert service.post(f"/jobs/{second['id']}/cancel").json()["state"] == "cancelled"
    assert service.post(f"/jobs/{second['id']}/retry").status_code == 409


MISFITS: list[tuple[dict[str, dict[str, Any]], list[Any], str]] = [
    (
        {"expert_0": {"feature_dim": 64}, "fusion": {"feature_dims": [32, 64]}},
        ["experts", 0, "from"],
        "expects feature dimension 32; this expert has 64",
    ),
    (
        {"expert_0": {"feature_dim": 64}, "expert_1": {"feature_dim": 64}, "fusion": {"feature_dims": [64]}},
        ["fusion", "from"],
        "is for 1 experts; this job has 2",
    ),
    (
        {"fusion": {"input_dim": 64}, "head": {"input_dim": 10}},
        ["head", "from"],
        "the head expects input dimension 10; the fusion module has 64",
    ),
]


@pytest.mark.parametrize(("configs", "loc", "message"), MISFITS)
def test_saved_components_that_do_not_fit_are_refused(
    service: Service, configs: dict[str, dict[str, Any]], loc: list[Any], message: str
) -> None:
    source = service.submit(FUSION)
    common: dict[str, Any] = {"job_id": source, "epoch": 1, "metrics": {}, "selected_by": "", "files": {}}
    with transaction(service.app.state.engine) as session:
        for number, (name, config) in enumerate(configs.items()):
            role = name.partition("_")[0]
            session.add(Component(id=f"cmp_{number}", name=name, role=role, config=config, **common))

    def ref(name: str) -> dict[str, Any]:
        return {"from": {"job": source, "component": name}}

    experts = [ref(name) if name in configs else {"arch": "convnet_small"} for name in ("expert_0", "expert_1")]
    body = FUSION | {"experts": experts} | {name: ref(name) for name in ("fusion", "head") if name in configs}
    answer = service.post("/jobs", body).json()
    assert answer["status"] == 422
    assert (answer["errors"][0]["loc"], message in answer["errors"][0]["msg"]) == (loc, True), answer


def test_a_fusion_module_of_another_number_of_experts_is_refused(service: Service) -> None:
    four = service.submit(FUSION | {"experts": [{"arch": "convnet_small"}], "num_experts": 4})

    def refs(component: str, *names: str) -> dict[str, Any]:
        experts = [{"from": {"job": four, "component": component or name}} for name in names]
        fusion = {"from": {"job": four, "component": component or "fusion"}}
        return {"experts": experts, "fusion": fusion}

    head = {"kind": "head"} | refs("", "expert_0", "expert_1")
    evaluate = {"kind": "evaluate", "head": {"from": {"job": four, "component": "complete"}}}
    expected = f"the fusion module of {four} is for 4 experts; this job has "
    for spec, count in ((head, 2), (evaluate | refs("complete", *("e" * 3)), 3), (evaluate | refs("complete", "e"), 1)):
        answer = service.post("/jobs?dry_run=true", spec)
        assert answer.status_code == 422
        assert answer.json()["errors"] == [{"loc": ["fusion", "from"], "msg": f"{expected}{count}"}]
    one = evaluate | refs("complete", "e") | {"num_experts": 4}
    for spec in (one, {"kind": "head"} | refs("", *(f"expert_{k}" for k in range(4)))):
        assert service.post("/jobs?dry_run=true", spec).status_code == 200


def test_an_expert_that_a_complete_model_lacks_is_refused(service: Service) -> None:
    two = service.submit(FUSION)
    expert = {"from": {"job": two, "component": "complete"}}
    answer = service.post("/jobs?dry_run=true", FUSION | {"experts": [expert] * 3, "num_experts": 3})
    [error] = answer.json()["errors"]
    assert error["loc"] == ["experts", 2, "from"]
    assert error["msg"] == f"the complete model of {two} has 2 experts; this field needs expert_2"
