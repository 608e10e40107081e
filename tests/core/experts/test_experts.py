from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from core.experts import build_expert, detect_feature_dim
from core.spec import ARCHITECTURES
from core.spec.parameters import expert_parameters

pytestmark = pytest.mark.slow

WITH_DROPOUT = [name for name, info in ARCHITECTURES.items() if "dropout" in info.options]


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_feature_dimension_is_that_of_a_forward_pass(arch: str) -> None:
    with torch.device("meta"):
        expert = build_expert(arch, 100)
    assert detect_feature_dim(expert, 3, 32) == expert.feature_dim == ARCHITECTURES[arch].feature_dim


def test_detecting_the_feature_dimension_does_not_change_the_expert() -> None:
    expert = build_expert("convnet_small", 10)
    before = {key: value.clone() for key, value in expert.state_dict().items()}
    assert detect_feature_dim(expert, 3, 32) == 64
    assert expert.training
    assert all(torch.equal(value, before[key]) for key, value in expert.state_dict().items())


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_architecture_runs_forward_and_backward_on_small_images(arch: str, channels: int) -> None:
    torch.manual_seed(0)
    expert = build_expert(arch, 7, in_channels=channels, image_size=8)
    images = torch.randn(2, channels, 8, 8).contiguous(memory_format=torch.channels_last)
    features, logits = expert(images)
    assert features.shape == (2, expert.feature_dim)
    assert logits.shape == (2, 7)
    assert torch.equal(logits, expert.head(features))
    logits.square().sum().backward()
    for name, parameter in expert.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("arch", ["convnet_small", "convnet_small_gn"])
def test_the_small_network_is_small_and_its_feature_dimension_an_option(arch: str) -> None:
    expert = build_expert(arch, 10, in_channels=1, image_size=8, feature_dim=24)
    assert expert.feature_dim == detect_feature_dim(expert, 1, 8) == 24
    assert count(build_expert(arch, 100, image_size=32)) < 100_000


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("arch", "feature_dim"),
    [("resnet18", 8), ("resnet18", 1_024), ("wideresnet28_10", 4), ("wideresnet28_10", 64), ("wideresnet28_10", 1_280)],
)
def test_a_wide_network_has_as_many_parameters_as_its_formula_says(arch: str, feature_dim: int, channels: int) -> None:
    with torch.device("meta"):
        expert = build_expert(arch, 7, in_channels=channels, feature_dim=feature_dim)
    assert detect_feature_dim(expert, channels, 32) == expert.feature_dim == feature_dim
    assert count(expert) == expert_parameters(arch, channels, 7, feature_dim)


def test_with_group_norm_images_do_not_influence_one_another() -> None:
    torch.manual_seed(0)
    expert = build_expert("convnet_small_gn", 10, image_size=8)
    images = torch.randn(4, 3, 8, 8)
    whole = expert(images)[1]
    halves = torch.cat([expert(images[:2])[1], expert(images[2:])[1]])
    assert torch.allclose(whole, halves, atol=1e-6)


def test_the_same_seed_gives_the_same_expert() -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(build_expert("convnet_small", 10).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize("arch", WITH_DROPOUT)
def test_the_dropout_option_sets_every_dropout_layer(arch: str) -> None:
    with torch.device("meta"):
        expert = build_expert(arch, 10, dropout=0.3)
    assert {m.p for m in expert.modules() if isinstance(m, nn.Dropout)} == {0.3}


def test_a_replaced_head_has_other_classes_and_the_same_features() -> None:
    expert = build_expert("convnet_small", 3, image_size=8)
    expert.replace_head(10)
    features, logits = expert(torch.randn(2, 3, 8, 8))
    assert features.shape[1] == expert.head.in_features
    assert logits.shape == (2, 10)


@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224"])
def test_a_timm_backbone_is_an_expert(name: str) -> None:
    expert = build_expert(f"timm:{name}", 5, in_channels=1, image_size=32)
    features, logits = expert(torch.randn(2, 1, 32, 32))
    assert features.shape == (2, expert.feature_dim)
    assert logits.shape == (2, 5)


@pytest.mark.parametrize(
    ("arch", "options", "message"),
    [
        ("resnet81", {}, "did you mean resnet18"),
        ("resnet18", {"dropout": 0.1}, "resnet18 has no dropout option"),
        ("densenet121", {"feature_dim": 7}, "is fixed: remove feature_dim"),
        ("resnet18", {"feature_dim": 7}, "a multiple of 8: use 8 "),
        ("wideresnet28_10", {"feature_dim": 642}, "a multiple of 4: use 640 or 644 "),
        ("resnet18", {"pretrained": True}, "no pretrained weights for resnet18"),
        ("convnet_small", {"image_size": 4}, "at least 8 px; these have 4 px"),
        ("timm:resnet1000", {}, "did you mean resnet"),
        ("timm:resnet10t", {"dropout": 0.1}, "neither a dropout nor a feature_dim option"),
        ("timm:resnet10t.nothing", {}, r"resnet10t\.nothing"),
        ("convnet_small", {"feature_dim": 0}, "feature_dim is 0"),
        ("convnet_small", {"num_classes": 0}, "num_classes is 0"),
        ("convnet_small", {"in_channels": 0}, "in_channels is 0"),
        ("convnet_small", {"dropout": float("nan")}, "dropout is nan"),
        ("convnet_small", {"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_an_impossible_expert_is_refused(arch: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_expert(arch, **{"num_classes": 10, **options})


def test_pretrained_weights_are_requested_from_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing is downloaded: offline, the loader finds its cache empty and reports that.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="with its pretrained weights"):
        build_expert("timm:resnet10t", 10, pretrained=True)
