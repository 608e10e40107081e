from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from core.experts import EXPERTS, build_expert, detect_feature_dim
from core.spec import ARCHITECTURES

COUNTS = {"resnet18": 11_220_132, "densenet121": 7_048_676, "wideresnet28_10": 36_536_884}
DIMS = {
    "resnet18": 512,
    "densenet121": 1024,
    "wideresnet28_10": 640,
    "preact_resnext29_8x64d": 1024,
    "resnext29_8x64d": 1024,
}
HAVE_DROPOUT = {"densenet121", "wideresnet28_10", "preact_resnext29_8x64d", "resnext29_8x64d"}


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_specification_and_the_table_know_the_same_architectures() -> None:
    assert tuple(EXPERTS) == ARCHITECTURES


@pytest.mark.parametrize("arch", COUNTS)
def test_parameters_at_a_hundred_classes_are_the_published_count(arch: str) -> None:
    with torch.device("meta"):
        assert count(build_expert(arch, 100)) == COUNTS[arch]


@pytest.mark.parametrize("arch", ["preact_resnext29_8x64d", "resnext29_8x64d"])
def test_resnext_has_about_34_million_parameters(arch: str) -> None:
    with torch.device("meta"):
        assert 34.3e6 < count(build_expert(arch, 100)) < 34.6e6


@pytest.mark.parametrize("arch", DIMS)
def test_the_feature_dimension_is_what_a_forward_gives(arch: str) -> None:
    with torch.device("meta"):
        expert = build_expert(arch, 100)
    assert detect_feature_dim(expert, 3, 32) == expert.feature_dim == DIMS[arch]


def test_detecting_leaves_the_expert_as_it_was() -> None:
    expert = build_expert("convnet_small", 10)
    before = {key: value.clone() for key, value in expert.state_dict().items()}
    assert detect_feature_dim(expert, 3, 32) == 64
    assert expert.training
    assert all(torch.equal(value, before[key]) for key, value in expert.state_dict().items())


@pytest.mark.parametrize("arch", EXPERTS)
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
def test_the_small_network_is_small_and_its_dimension_free(arch: str) -> None:
    expert = build_expert(arch, 10, in_channels=1, image_size=8, feature_dim=24)
    assert expert.feature_dim == detect_feature_dim(expert, 1, 8) == 24
    assert count(build_expert(arch, 100, image_size=32)) < 100_000


def test_without_batch_statistics_images_do_not_influence_one_another() -> None:
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


@pytest.mark.parametrize("arch", sorted(HAVE_DROPOUT))
def test_dropout_reaches_the_network(arch: str) -> None:
    with torch.device("meta"):
        expert = build_expert(arch, 10, dropout=0.3)
    assert {m.p for m in expert.modules() if isinstance(m, nn.Dropout)} == {0.3}


def test_a_new_head_fits_the_same_features() -> None:
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
    ("arch", "options", "says"),
    [
        ("resnet81", {}, "did you mean resnet18"),
        ("resnet18", {"dropout": 0.1}, "resnet18 has no dropout"),
        ("resnet18", {"feature_dim": 7}, "is fixed"),
        ("resnet18", {"pretrained": True}, "no pretrained weights for resnet18"),
        ("convnet_small", {"image_size": 4}, "8 px or more"),
        ("timm:resnet1000", {}, "did you mean resnet"),
        ("timm:resnet10t", {"dropout": 0.1}, "neither dropout nor feature_dim"),
    ],
)
def test_what_cannot_be_built_is_refused_in_words(arch: str, options: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        build_expert(arch, 10, **options)  # type: ignore[arg-type]


def test_pretrained_weights_are_really_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing is fetched here: the loader looks into an empty cache, and says so.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="with its pretrained weights"):
        build_expert("timm:resnet10t", 10, pretrained=True)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"feature_dim": 0}, "feature_dim is 0"),
        ({"num_classes": 0}, "num_classes is 0"),
        ({"in_channels": 0}, "in_channels is 0"),
        ({"dropout": float("nan")}, "dropout is nan"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_sizes_that_cannot_be_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        build_expert("convnet_small", **{"num_classes": 10, **options})


def test_an_unknown_tag_of_a_known_timm_model_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match=r"resnet10t\.nothing"):
        build_expert("timm:resnet10t.nothing", 10)
