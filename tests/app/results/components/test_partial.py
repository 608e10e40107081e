"""Downloads of a complete model with some of its experts only."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from app.db import transaction
from app.models import Component
from core.components import load_component, save_component
from core.run.rundir import RunDir
from tests.app.api import FUSION, Service


@pytest.fixture
def job_id(service: Service) -> str:
    """A job with a complete model of three experts, and an expert."""
    job_id = service.submit(FUSION)
    folder = RunDir(service.settings.runs_dir / job_id).components
    state = {f"experts.{k}.weight": torch.full((3, 5), float(k)) for k in range(3)}
    state |= {f"experts.{k}.count": torch.tensor(k) for k in range(3)}
    state |= {"fusion.weights": torch.ones(3), "head.bias": torch.zeros(10, dtype=torch.bfloat16)}
    config = {"role": "complete", "experts": [{"feature_dim": 5}] * 3, "fusion": {}, "head": {}}
    details: dict[str, Any] = {"epoch": 1, "step": 1, "metrics": {"accuracy": 0.5}, "selected_by": "accuracy"}
    configs: dict[str, dict[str, Any]] = {"complete": config, "expert_0": {"role": "expert"}}
    for name, own in configs.items():
        manifest = save_component(folder, name, state, own, **details)
        row = Component(
            id=f"cmp_{name}", job_id=job_id, name=name, role=str(own["role"]), epoch=1, metrics={},
            selected_by="accuracy", config={}, files=manifest["files"],
        )  # fmt: skip
        with transaction(service.app.state.engine) as session:
            session.add(row)
    return job_id


def write_result(service: Service, job_id: str) -> None:
    run = RunDir(service.settings.runs_dir / job_id)
    manifest = json.loads((run.components / "complete.json").read_text())
    measured = {"components": {"complete": manifest}, "subsets": {"0,2": 0.875}}
    run.result.write_text(json.dumps(measured))


def test_a_complete_model_is_sent_with_the_requested_experts_only(
    service: Service, job_id: str, tmp_path: Path
) -> None:
    path = f"/jobs/{job_id}/components/complete"
    answer = service.get(f"{path}?experts=0,2")
    assert answer.status_code == 200, answer.text
    assert 'filename="complete_fusion_best-experts-0-2.safetensors"' in answer.headers["content-disposition"]
    digest = hashlib.sha256(answer.content).digest()
    assert answer.headers["repr-digest"] == f"sha-256=:{base64.b64encode(digest).decode()}:"
    assert int(answer.headers["content-length"]) == len(answer.content)
    (tmp_path / "partial.safetensors").write_bytes(answer.content)
    partial = load_component(tmp_path / "partial.safetensors")
    assert (partial.config["present_experts"], partial.config["test_accuracy"]) == ([0, 2], None)
    assert {key for key in partial.state_dict if "1" in key} == set()
    assert torch.equal(partial.state_dict["experts.2.weight"], torch.full((3, 5), 2.0))
    again = service.get(f"{path}?experts=2,0&format=safetensors")
    assert again.content == answer.content
    known = service.get(f"{path}?experts=0,2", headers={"If-None-Match": answer.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")


def test_once_the_job_has_succeeded_the_file_says_what_was_measured(
    service: Service, job_id: str, tmp_path: Path
) -> None:
    path = f"/jobs/{job_id}/components/complete"
    before = service.get(f"{path}?experts=0,2").headers["etag"]
    write_result(service, job_id)
    for experts, accuracy in (("0,2", 0.875), ("1", None)):
        (tmp_path / "partial.safetensors").write_bytes(service.get(f"{path}?experts={experts}").content)
        assert load_component(tmp_path / "partial.safetensors").config["test_accuracy"] == accuracy
    assert service.get(f"{path}?experts=0,2").headers["etag"] != before


@pytest.mark.parametrize(
    ("request_line", "message"),
    [
        ("complete?experts=0,7", "this model has no expert numbered 7: choose from 0, 1, 2"),
        ("complete?experts=0,0", "expert 0 is named twice: name each expert once, such as 0,2"),
        ("complete?experts=a", "numbers from 0, joined by commas"),
        ("complete?experts=", "numbers from 0, joined by commas"),
        ("complete?experts=0&format=pth", "leave out format=pth"),
        ("expert_0?experts=0", "request complete instead"),
    ],
)
def test_what_cannot_be_cut_is_refused_with_a_sentence(
    service: Service, job_id: str, request_line: str, message: str
) -> None:
    answer = service.get(f"/jobs/{job_id}/components/{request_line}")
    assert (answer.status_code, answer.json()["type"]) == (422, "invalid")
    assert message in answer.json()["detail"]


def test_a_replaced_file_is_requested_again(service: Service, job_id: str) -> None:
    for blob in (service.settings.runs_dir / job_id / "components/blobs").iterdir():
        blob.unlink()
    answer = service.get(f"/jobs/{job_id}/components/complete?experts=0")
    assert (answer.status_code, "request it again" in answer.json()["detail"]) == (404, True)
