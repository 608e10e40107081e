"""Whole models equal independent implementations: logits of both paths and all gradients, in float64, to 1e-6."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.data import DataShape
from core.model.assemble import build_model
from core.model.model import MultiExpertModel
from core.spec import ARCHITECTURES, FUSION_TYPES, FusionJob, parse_spec, resolve
from tests.core.references.fusion import fuse, head
from tests.core.references.networks import NETWORKS, share_weights

NUM_CLASSES = 5
TOLERANCE = 1e-6


def build(fields: dict[str, Any]) -> tuple[FusionJob, MultiExpertModel]:
    spec = resolve(parse_spec({"kind": "fusion"} | fields))
    assert isinstance(spec, FusionJob)
    torch.manual_seed(0)
    model = build_model(spec, DataShape(3, 16, NUM_CLASSES)).double()
    generator = torch.Generator().manual_seed(1)
    # Biases of zero, factors of one and equal weights would hide mistakes.
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return spec, model


def assert_equal(ours: Tensor | None, reference: Tensor | None, name: str) -> None:
    assert ours is not None, name
    assert reference is not None, name
    difference = (ours - reference).abs().max().item()
    assert difference <= TOLERANCE * max(1.0, reference.abs().max().item()), (name, difference)


def check(fields: dict[str, Any], size: int = 16) -> None:
    """Builds a model and its reference with the same weights, and compares logits and gradients in training mode."""
    spec, model = build(fields)
    fusion_type = spec.fusion.type
    assert fusion_type is not None
    networks: list[nn.Module] = []
    pairs: dict[nn.Parameter, nn.Parameter] = {}
    probe = torch.zeros(2, 3, 8, 8, dtype=torch.float64)
    for k, expert in enumerate(spec.experts):
        network = NETWORKS[expert.arch or ""](3, NUM_CLASSES, expert.dropout or 0.0).double()
        pairs |= share_weights(network, model.expert(k), probe)
        networks.append(network)
    weights = {
        name: value.detach().requires_grad_()
        for module, prefix in ((model.fusion, ""), (model.head, "head."))
        for name, value in ((f"{prefix}{name}", value) for name, value in module.named_parameters())  # type: ignore[union-attr]
    }
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(2, 3, size, size, generator=generator, dtype=torch.float64)
    directions = torch.randn(1 + len(networks), 2, NUM_CLASSES, generator=generator, dtype=torch.float64)

    # The same random state gives the same dropout masks, if dropout is applied at the same positions.
    torch.manual_seed(3)
    outputs = model.train()(images)
    torch.manual_seed(3)
    results = [network(images) for network in networks]
    fused = head(fuse(fusion_type, [features for features, _ in results], weights, spec.fusion.heads), weights)
    ours, references = [outputs.fused, *outputs.experts], [fused, *(logits for _, logits in results)]
    for path, (our_logits, reference_logits) in enumerate(zip(ours, references, strict=True)):
        assert_equal(our_logits, reference_logits, f"logits of path {path}")
    for logits in (ours, references):
        sum((z * direction).sum() for z, direction in zip(logits, directions, strict=True)).backward()

    for name, parameter in model.named_parameters():
        if parameter in pairs:
            assert_equal(parameter.grad, pairs[parameter].grad, name)
        else:
            assert_equal(parameter.grad, weights[name.removeprefix("fusion.")].grad, name)


def test_every_architecture_has_a_reference() -> None:
    variants = {"convnet_small_gn"}
    assert set(NETWORKS) == set(ARCHITECTURES) - variants


@pytest.mark.parametrize("arch", NETWORKS)
def test_a_model_with_each_architecture_equals_its_reference(arch: str) -> None:
    expert: dict[str, Any] = {"arch": arch}
    if "dropout" in ARCHITECTURES[arch].options:
        expert["dropout"] = 0.3
    # 18 px become 9 px before DenseNet's second pooling: an odd size.
    size = 18 if arch == "densenet121" else 16
    check({"experts": [expert, {"arch": "convnet_small"}], "fusion": {"dropout": 0.0}}, size)


VARIANTS: list[dict[str, Any]] = [
    *({"fusion": {"type": name}} for name in FUSION_TYPES),
    *({"fusion": {"type": name, "norm": False}} for name in FUSION_TYPES),
    *({"fusion": {"type": name, "mlp": False, "hidden_dim": 24}} for name in FUSION_TYPES),
    *({"fusion": {"type": name, "hidden_dim": 24}, "input_dim": 32} for name in FUSION_TYPES),
    {"fusion": {"type": "TransformerBase", "encoder": True}},
    {"fusion": {"type": "TransformerBase", "heads": 2}},
    {"fusion": {"type": "simpleAddition", "weights": "none"}},
    {"fusion": {"type": "multiplicativeAddition", "weights": "none"}},
    {"head": {"type": "mlp", "hidden_dim": 24, "dropout": 0.0}},
]


@pytest.mark.parametrize("fields", VARIANTS, ids=str)
def test_a_model_with_each_fusion_type_equals_its_reference(fields: dict[str, Any]) -> None:
    experts = [{"arch": "convnet_small"}] * 3
    check({"experts": experts, **fields, "fusion": {"dropout": 0.0, **fields.get("fusion", {})}})
