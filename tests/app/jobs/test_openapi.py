"""The OpenAPI description of bodies refuses what validation refuses, field by field."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from app.main import create_app
from app.settings import Settings
from tests.app.api import EXPERT, FUSION, Service
from tests.app.sweeps.sweeping import sweep

JOB_REF = {"job": "job_" + "0" * 26, "component": "expert_0"}


def fusion_from(ref: Any) -> dict[str, Any]:
    return FUSION | {"fusion": {"from": ref}}


REFUSED: dict[str, tuple[str, Any]] = {
    "unknown field": ("/jobs", EXPERT | {"epochs": 3}),
    "unknown nested field": ("/jobs", EXPERT | {"training": {"epoch": 3}}),
    "unknown kind": ("/jobs", EXPERT | {"kind": "train"}),
    "unknown architecture": ("/jobs", EXPERT | {"expert": {"arch": "alexnet"}}),
    "timm without a name": ("/jobs", EXPERT | {"expert": {"arch": "timm:"}}),
    "expert without an architecture": ("/jobs", EXPERT | {"expert": {"arch": None}}),
    "unknown data set": ("/jobs", EXPERT | {"dataset": {"name": "imagenet"}}),
    "data set without a path": ("/jobs", EXPERT | {"dataset": {"name": "npz:"}}),
    "two lines in a name": ("/jobs", EXPERT | {"name": "a\nb"}),
    "long name": ("/jobs", EXPERT | {"name": "n" * 201}),
    "tag with a space": ("/jobs", EXPERT | {"tags": ["a b"]}),
    "many tags": ("/jobs", EXPERT | {"tags": ["t"] * 33}),
    "reference by job alone": ("/jobs", fusion_from({"job": JOB_REF["job"]})),
    "reference in two forms": ("/jobs", fusion_from(JOB_REF | {"path": "x"})),
    "unknown component name": ("/jobs", fusion_from(JOB_REF | {"component": "expert"})),
    "malformed component id": ("/jobs", fusion_from({"component": "cmp_1"})),
    "command as a partition": ("/jobs", EXPERT | {"resources": {"slurm": {"partition": "a; b"}}}),
    "unknown sweep field": ("/sweeps", sweep(parallel=3)),
    "sweep of no field": ("/sweeps", sweep({})),
    "sweep of the kind": ("/sweeps", sweep({"kind": ["fusion"]})),
    "malformed path": ("/sweeps", sweep({"a b": [1]})),
    "long path": ("/sweeps", sweep({"a" * 201: [1]})),
    "no values": ("/sweeps", sweep({"training.seed": []})),
    "repeated values": ("/sweeps", sweep({"training.seed": [1, 1.0]})),
    "base without a kind": ("/sweeps", sweep() | {"base": {}}),
    "no points per task": ("/sweeps", sweep(points_per_task=0)),
    "metric after training": ("/sweeps", sweep(early_stopping={"metric": "test/nll"})),
    "unknown resource": ("/jobs/{job_id}/retry", {"resources": {"ram": 3}}),
    "no threads": ("/jobs/{job_id}/resume", {"resources": {"cpus": 0}}),
    "change of the name": ("/jobs/{job_id}/retry", {"name": "x"}),
}
ACCEPTED: dict[str, tuple[str, Any]] = {
    "expert": ("/jobs", EXPERT),
    "timm": ("/jobs", EXPERT | {"expert": {"arch": "timm:resnet26"}}),
    "reference by job": ("/jobs", fusion_from(JOB_REF)),
    "reference by id": ("/jobs", fusion_from({"component": "cmp_" + "0" * 26, "job": None})),
    "sweep": ("/sweeps", sweep(points_per_task=3)),
    "change": ("/jobs/{job_id}/retry", {"resources": {"cpus": 3, "slurm": {"partition": "p"}}}),
}


@cache
def description() -> dict[str, Any]:
    """The description, which does not depend on a service and takes a second to make."""
    with tempfile.TemporaryDirectory() as folder:
        return dict(create_app(Settings(data_dir=Path(folder))).openapi())


def schema_allows(path: str, body: Any) -> bool:
    content = description()["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    schema = content["schema"] | {"components": description()["components"]}
    return bool(jsonschema_rs.is_valid(schema, body))


@pytest.mark.parametrize("name", REFUSED)
def test_the_description_refuses_what_validation_refuses(shared_service: Service, name: str) -> None:
    path, body = REFUSED[name]
    assert shared_service.post(path.replace("{job_id}", shared_service.submit()), body).status_code == 422
    assert not schema_allows(path, body)


@pytest.mark.parametrize("name", ACCEPTED)
def test_the_description_allows_valid_bodies(name: str) -> None:
    assert schema_allows(*ACCEPTED[name])
