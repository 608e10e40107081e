from __future__ import annotations

import itertools
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from core.fusion import FUSIONS, FusionModule
from core.spec import FusionType

SYMMETRIC = [name for name in FUSIONS if name != "concatenation"]


def features(num_experts: int, dim: int = 16, batch: int = 6, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, dim, generator=generator, requires_grad=True) for _ in range(num_experts)]


def test_the_specification_and_the_table_know_the_same_types() -> None:
    assert set(FUSIONS) == set(get_args(FusionType))


@pytest.mark.parametrize("fusion_type", FUSIONS)
@pytest.mark.parametrize("num_experts", [1, 2, 4, 8])
@pytest.mark.parametrize(("norm", "mlp"), itertools.product([True, False], repeat=2))
def test_every_type_gives_finite_numbers_and_a_gradient_for_every_parameter(
    fusion_type: str, num_experts: int, norm: bool, mlp: bool
) -> None:
    torch.manual_seed(0)
    module = FusionModule(fusion_type, [16] * num_experts, norm=norm, mlp=mlp)
    given = features(num_experts)
    fused = module(given)
    assert fused.shape == (6, 16)
    assert torch.isfinite(fused).all()
    (fused * torch.randn(6, 16)).sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        # One expert has nothing to weigh or to attend to: those gradients are there, and zero.
        alone = num_experts == 1 and (name == "combine.weights" or "in_proj" in name)
        assert alone or parameter.grad.abs().sum() > 0, name
    assert all(feature.grad is not None and feature.grad.abs().sum() > 0 for feature in given)


@pytest.mark.parametrize("encoder", [False, True])
def test_the_transformer_has_an_encoder_variant(encoder: bool) -> None:
    torch.manual_seed(0)
    module = FusionModule("TransformerBase", [16] * 3, encoder=encoder)
    module(features(3)).square().sum().backward()
    assert sum(isinstance(m, nn.TransformerEncoderLayer) for m in module.modules()) == (2 if encoder else 0)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in module.parameters())


@pytest.mark.parametrize("fusion_type", SYMMETRIC)
@pytest.mark.parametrize("norm", [True, False])
def test_permuting_the_experts_leaves_symmetric_types_unchanged(fusion_type: str, norm: bool) -> None:
    torch.manual_seed(0)
    module = FusionModule(fusion_type, [16] * 4, norm=norm).eval()
    given = features(4)
    expected = module(given)
    for order in itertools.permutations(range(4)):
        assert torch.allclose(module([given[k] for k in order]), expected, atol=1e-5)


def test_concatenation_tells_the_experts_apart() -> None:
    torch.manual_seed(0)
    module = FusionModule("concatenation", [16] * 2).eval()
    a, b = features(2)
    assert not torch.allclose(module([a, b]), module([b, a]), atol=1e-3)


@pytest.mark.parametrize(
    ("fusion_type", "inner"),
    [
        ("multiplicative", lambda f, m: m.mlp(f)),
        ("multiplicativeAddition", lambda f, m: m.mlp(2 * f)),
        ("multiplicativeShifted", lambda f, m: m.mlp(f + 1)),
        ("simpleAddition", lambda f, m: m.mlp(f)),
        ("concatenation", lambda f, m: m.combine.project(f)),
        ("TransformerBase", lambda f, m: m.mlp(_value_path(f, m.combine.attention))),
    ],
)
def test_one_expert_without_norm_reduces_a_type_to_its_mlp(fusion_type: str, inner: object) -> None:
    torch.manual_seed(0)
    module = FusionModule(fusion_type, [16], norm=False).eval()
    (feature,) = features(1)
    assert torch.allclose(module([feature]), inner(feature, module), atol=1e-6)  # type: ignore[operator]


def _value_path(feature_BD: Tensor, attention: nn.MultiheadAttention) -> Tensor:
    """With one token all of the attention is on it: the value and output projections are left."""
    dim = feature_BD.shape[1]
    value = nn.functional.linear(feature_BD, attention.in_proj_weight[2 * dim :], attention.in_proj_bias[2 * dim :])
    return nn.functional.linear(value, attention.out_proj.weight, attention.out_proj.bias)


@pytest.mark.parametrize(
    ("fusion_type", "formula"),
    [
        ("multiplicative", lambda n, w: n.prod(0)),
        ("multiplicativeAddition", lambda n, w: n.prod(0) + (n * w.softmax(0)[:, None, None]).sum(0)),
        ("multiplicativeShifted", lambda n, w: (n + 1).prod(0)),
        ("simpleAddition", lambda n, w: (n * w.softmax(0)[:, None, None]).sum(0)),
    ],
)
def test_values_and_gradients_are_those_of_the_formula(fusion_type: str, formula: object) -> None:
    module = FusionModule(fusion_type, [16] * 4, mlp=False)
    weights = torch.tensor([0.3, -1.0, 2.0, 0.5])
    if hasattr(module.combine, "weights"):
        module.combine.weights.data.copy_(weights)  # type: ignore[operator]
    ours, theirs = features(4), features(4)
    fused = module(ours)
    normed = torch.stack([nn.functional.layer_norm(f, (16,), eps=1e-5) for f in theirs])
    expected = formula(normed, weights)  # type: ignore[operator]
    assert torch.allclose(fused, expected, atol=1e-5)
    toward = torch.randn_like(fused)
    (fused * toward).sum().backward()
    (expected * toward).sum().backward()
    for our, their in zip(ours, theirs, strict=True):
        assert torch.allclose(our.grad, their.grad, atol=1e-4)  # type: ignore[arg-type]


@pytest.mark.parametrize("fusion_type", FUSIONS)
def test_an_exact_zero_in_a_feature_gives_finite_gradients(fusion_type: str) -> None:
    module = FusionModule(fusion_type, [16] * 4, norm=False)
    given = features(4)
    with torch.no_grad():
        given[1][:, 3] = 0.0
        given[2][0] = 0.0
    module(given).sum().backward()
    assert all(feature.grad is not None and torch.isfinite(feature.grad).all() for feature in given)


def test_the_product_keeps_its_digits_under_autocast() -> None:
    module = FusionModule("multiplicative", [64] * 8, mlp=False)
    given = [feature.detach() for feature in features(8, dim=64, batch=32)]
    exact = torch.stack([nn.functional.layer_norm(f.double(), (64,), eps=1e-5) for f in given]).prod(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fused = module(given)
    assert fused.dtype == torch.float32
    assert torch.allclose(fused.double(), exact, rtol=1e-4, atol=1e-9)


def test_products_shrink_and_shifted_products_grow_as_they_should() -> None:
    torch.manual_seed(0)
    normal = [torch.randn(4096, 64) for _ in range(4)]
    product = FusionModule("multiplicative", [64] * 4, mlp=False)(normal)
    shifted = FusionModule("multiplicativeShifted", [64] * 4, mlp=False)(normal)
    assert product.abs().median().item() == pytest.approx(0.10, abs=0.02)
    assert shifted.std().item() == pytest.approx(3.9, abs=0.4)


def test_only_experts_of_another_dimension_get_an_adapter() -> None:
    module = FusionModule("multiplicative", [8, 16, 12])
    assert [type(adapter) for adapter in module.adapters] == [nn.Linear, nn.Identity, nn.Linear]
    given = [torch.randn(2, dim) for dim in (8, 16, 12)]
    assert module(given).shape == (2, 16)
    narrow = FusionModule("multiplicative", [8, 16], input_dim=4)
    assert all(isinstance(adapter, nn.Linear) for adapter in narrow.adapters)


def test_the_hidden_dimension_is_honoured_and_is_the_input_dimension_otherwise() -> None:
    def widths(module: FusionModule) -> tuple[int, int]:
        first = module.mlp[0]  # type: ignore[index]
        assert isinstance(first, nn.Linear)
        return first.in_features, first.out_features

    assert widths(FusionModule("multiplicative", [16, 16])) == (16, 16)
    assert widths(FusionModule("multiplicative", [16, 16], hidden_dim=40)) == (16, 40)
    project = FusionModule("concatenation", [16, 16], hidden_dim=40).combine.project
    assert (project[0].in_features, project[0].out_features, project[3].out_features) == (32, 40, 16)  # type: ignore[index, union-attr]


def test_without_norm_there_is_none() -> None:
    module = FusionModule("simpleAddition", [16] * 2, norm=False)
    assert not any(isinstance(m, nn.LayerNorm) for m in module.modules())
    kept = FusionModule("simpleAddition", [16] * 2)
    assert [m.eps for m in kept.modules() if isinstance(m, nn.LayerNorm)] == [1e-5, 1e-5]


@pytest.mark.parametrize(
    ("arguments", "options", "says"),
    [
        (("mean", [16]), {}, "multiplicative, multiplicativeAddition"),
        (("multiplicative", []), {}, "at least one expert"),
        (("concatenation", [16]), {"encoder": True}, "option of TransformerBase"),
        (("multiplicative", [16]), {"hidden_dim": -1}, "at least 1"),
        (("TransformerBase", [12]), {}, "D = 12 .* 8 does not divide it: choose fusion.heads from 1, 2, 3, 4, 6, 12,"),
        (("TransformerBase", [12]), {"encoder": True}, "choose fusion.heads from 1, 2, 3, 4, 6, 12,"),
    ],
)
def test_what_cannot_be_built_is_refused_in_words(
    arguments: tuple[str, list[int]], options: dict[str, object], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        FusionModule(*arguments, **options)  # type: ignore[arg-type]


def test_features_that_do_not_fit_are_refused() -> None:
    module = FusionModule("multiplicative", [16, 16])
    for given in ([torch.randn(2, 16)], [torch.randn(2, 16), torch.randn(2, 15)]):
        with pytest.raises(ValueError, match=r"takes features of dimensions \(16, 16\)"):
            module(given)
