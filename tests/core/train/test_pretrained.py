"""Published weights count by their content: under the same name, others may be published later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from core.experts import timm_backbone
from core.run.identity import RunIdentity
from core.run.rundir import RunDir
from tests.core.jobs import expert, fusion, run

WIDTH = 4


class Backbone(nn.Module):
    """Stands for a model of timm with published weights."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((WIDTH, 64), scale))

    def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        return images_BCHW.flatten(1) @ self.weight.T


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Publishes weights, given as their common value."""

    def publish(scale: float) -> None:
        monkeypatch.setattr(timm_backbone, "_create", lambda *_, **__: Backbone(scale))
        monkeypatch.setattr(timm_backbone, "_feature_dim", lambda *_: WIDTH)

    return publish


def pretrained(spec: dict[str, Any], folder: Path, *, stop: bool = False) -> RunIdentity:
    run(spec, folder, should_stop=lambda: stop)
    stored = RunIdentity.read(RunDir(folder))
    assert stored is not None
    return stored


def test_other_weights_under_the_same_name_give_another_identity(publish: Any, tmp_path: Path) -> None:
    spec = expert(epochs=1) | {"expert": {"arch": "timm:any", "pretrained": True}}
    identities = []
    for k, scale in enumerate((0.01, 0.01, 0.02)):
        publish(scale)
        identities.append(pretrained(spec, tmp_path / str(k)))
    assert list(identities[0].pretrained) == ["expert"]
    assert identities[0].digest == identities[1].digest != identities[2].digest


def test_a_run_that_resumes_keeps_the_weights_that_it_started_from(publish: Any, tmp_path: Path) -> None:
    experts = [{"arch": "timm:any", "pretrained": True}, {"arch": "timm:any"}]
    spec = fusion(epochs=1) | {"experts": experts, "num_experts": None}
    publish(0.01)
    first = pretrained(spec, tmp_path, stop=True)
    publish(0.02)
    assert pretrained(spec, tmp_path).pretrained == first.pretrained
    assert list(first.pretrained) == ["experts.0"]
