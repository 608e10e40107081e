from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.fusion import FusionModule
from core.spec import FUSION_TYPES, FusionOptions

SYMMETRIC = [name for name in FUSION_TYPES if name != "concatenation"]
Combination = Callable[[Tensor, Tensor], Tensor]


def make(fusion_type: str, dims: list[int], *, input_dim: int | None = None, **options: Any) -> FusionModule:
    return FusionModule(fusion_type, dims, input_dim=input_dim, options=FusionOptions(**options))


def features(num_experts: int, dim: int = 16, batch: int = 6, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, dim, generator=generator, requires_grad=True) for _ in range(num_experts)]


@pytest.mark.parametrize("fusion_type", FUSION_TYPES)
@pytest.mark.parametrize("num_experts", [1, 2, 4, 8])
@pytest.mark.parametrize(("norm", "mlp"), itertools.product([True, False], repeat=2))
def test_every_type_gives_finite_outputs_and_a_gradient_for_every_parameter(
    fusion_type: str, num_experts: int, norm: bool, mlp: bool
) -> None:
    torch.manual_seed(0)
    module = make(fusion_type, [16] * num_experts, norm=norm, mlp=mlp)
    inputs = features(num_experts)
    fused = module(inputs)
    assert fused.shape == (6, 16)
    assert torch.isfinite(fused).all()
    (fused * torch.randn(6, 16)).sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        # With one expert the softmax weights and the attention scores have no effect: their gradients are zero.
        ineffective = num_experts == 1 and (name == "combine.weights" or "in_proj" in name)
        assert ineffective or parameter.grad.abs().sum() > 0, name
    assert all(feature.grad is not None and feature.grad.abs().sum() > 0 for feature in inputs)


@pytest.mark.parametrize("encoder", [False, True])
def test_the_transformer_has_an_encoder_variant(encoder: bool) -> None:
    torch.manual_seed(0)
    module = make("TransformerBase", [16] * 3, encoder=encoder)
    module(features(3)).square().sum().backward()
    assert sum(isinstance(m, nn.TransformerEncoderLayer) for m in module.modules()) == (2 if encoder else 0)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in module.parameters())


def test_the_encoder_has_a_dropout_of_its_own() -> None:
    def dropouts(module: FusionModule) -> tuple[set[float], float]:
        encoder = module.combine.encoder
        assert isinstance(encoder, nn.TransformerEncoder)
        assert isinstance(module.mlp, nn.Sequential)
        (own,) = (m.p for m in module.mlp if isinstance(m, nn.Dropout))
        return {m.p for m in encoder.modules() if isinstance(m, nn.Dropout)}, own

    assert dropouts(make("TransformerBase", [16] * 2, encoder=True)) == ({0.2}, 0.2)
    assert dropouts(make("TransformerBase", [16] * 2, encoder=True, encoder_dropout=0.1)) == ({0.1}, 0.2)


@pytest.mark.parametrize("fusion_type", SYMMETRIC)
@pytest.mark.parametrize("norm", [True, False])
def test_permuting_the_experts_leaves_symmetric_types_unchanged(fusion_type: str, norm: bool) -> None:
    torch.manual_seed(0)
    module = make(fusion_type, [16] * 4, norm=norm).eval()
    inputs = features(4)
    expected = module(inputs)
    for order in itertools.permutations(range(4)):
        assert torch.allclose(module([inputs[k] for k in order]), expected, atol=1e-5)


def test_concatenation_depends_on_the_order_of_the_experts() -> None:
    torch.manual_seed(0)
    module = make("concatenation", [16] * 2).eval()
    a, b = features(2)
    assert not torch.allclose(module([a, b]), module([b, a]), atol=1e-3)


@pytest.mark.parametrize(
    ("fusion_type", "reduced"),
    [
        ("multiplicative", lambda f, m: m.mlp(f)),
        ("multiplicativeAddition", lambda f, m: m.mlp(2 * f)),
        ("multiplicativeShifted", lambda f, m: m.mlp(f + 1)),
        ("simpleAddition", lambda f, m: m.mlp(f)),
        ("concatenation", lambda f, m: m.combine.project(f)),
        ("TransformerBase", lambda f, m: m.mlp(_value_path(f, m.combine.attention))),
    ],
)
def test_one_expert_without_norm_reduces_a_type_to_its_mlp(
    fusion_type: str, reduced: Callable[[Tensor, FusionModule], Tensor]
) -> None:
    torch.manual_seed(0)
    module = make(fusion_type, [16], norm=False).eval()
    (feature,) = features(1)
    assert torch.allclose(module([feature]), reduced(feature, module), atol=1e-6)


def _value_path(feature_BD: Tensor, attention: nn.MultiheadAttention) -> Tensor:
    """Attention to a single token: only the value and output projections remain."""
    dim = feature_BD.shape[1]
    value = nn.functional.linear(feature_BD, attention.in_proj_weight[2 * dim :], attention.in_proj_bias[2 * dim :])
    return nn.functional.linear(value, attention.out_proj.weight, attention.out_proj.bias)


@pytest.mark.parametrize(
    ("fusion_type", "options", "formula"),
    [
        ("multiplicative", {}, lambda n, w: n.prod(0)),
        ("multiplicativeAddition", {}, lambda n, w: n.prod(0) + (n * w.softmax(0)[:, None, None]).sum(0)),
        ("multiplicativeAddition", {"weights": "none"}, lambda n, w: n.prod(0) + n.sum(0)),
        ("multiplicativeShifted", {}, lambda n, w: (n + 1).prod(0)),
        ("simpleAddition", {}, lambda n, w: (n * w.softmax(0)[:, None, None]).sum(0)),
        ("simpleAddition", {"weights": "none"}, lambda n, w: n.sum(0)),
    ],
)
def test_outputs_and_gradients_equal_those_of_the_formula(
    fusion_type: str, options: dict[str, Any], formula: Combination
) -> None:
    module = make(fusion_type, [16] * 4, mlp=False, **options)
    weights = torch.tensor([0.3, -1.0, 2.0, 0.5])
    if isinstance(parameter := getattr(module.combine, "weights", None), nn.Parameter):
        parameter.data.copy_(weights)
    ours, theirs = features(4), features(4)
    fused = module(ours)
    normed = torch.stack([nn.functional.layer_norm(f, (16,), eps=1e-5) for f in theirs])
    expected = formula(normed, weights)
    assert torch.allclose(fused, expected, atol=1e-5)
    direction = torch.randn_like(fused)
    (fused * direction).sum().backward()
    (expected * direction).sum().backward()
    for our, their in zip(ours, theirs, strict=True):
        assert torch.allclose(our.grad, their.grad, atol=1e-4)  # type: ignore[arg-type]


def test_a_plain_sum_has_no_weights() -> None:
    for fusion_type in ("simpleAddition", "multiplicativeAddition"):
        module = make(fusion_type, [16] * 4, mlp=False, norm=False, weights="none")
        assert list(module.parameters()) == []


@pytest.mark.parametrize("fusion_type", FUSION_TYPES)
def test_an_exact_zero_in_a_feature_gives_finite_gradients(fusion_type: str) -> None:
    module = make(fusion_type, [16] * 4, norm=False)
    inputs = features(4)
    with torch.no_grad():
        inputs[1][:, 3] = 0.0
        inputs[2][0] = 0.0
    module(inputs).sum().backward()
    assert all(feature.grad is not None and torch.isfinite(feature.grad).all() for feature in inputs)


def test_the_product_is_computed_in_float32_under_autocast() -> None:
    module = make("multiplicative", [64] * 8, mlp=False)
    inputs = [feature.detach() for feature in features(8, dim=64, batch=32)]
    exact = torch.stack([nn.functional.layer_norm(f.double(), (64,), eps=1e-5) for f in inputs]).prod(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fused = module(inputs)
    assert fused.dtype == torch.float32
    assert torch.allclose(fused.double(), exact, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("fusion_type", FUSION_TYPES)
def test_double_precision_is_kept(fusion_type: str) -> None:
    module = make(fusion_type, [16] * 2).double()
    assert module([torch.randn(2, 16).double()] * 2).dtype == torch.float64


def test_products_shrink_and_shifted_products_grow_with_the_number_of_experts() -> None:
    torch.manual_seed(0)
    normal = [torch.randn(4096, 64) for _ in range(4)]
    product = make("multiplicative", [64] * 4, mlp=False)(normal)
    shifted = make("multiplicativeShifted", [64] * 4, mlp=False)(normal)
    assert product.abs().median().item() == pytest.approx(0.10, abs=0.02)
    assert shifted.std().item() == pytest.approx(3.9, abs=0.4)


def test_only_experts_of_another_dimension_get_an_adapter() -> None:
    module = make("multiplicative", [8, 16, 12])
    assert [type(adapter) for adapter in module.adapters] == [nn.Linear, nn.Identity, nn.Linear]
    assert module([torch.randn(2, dim) for dim in (8, 16, 12)]).shape == (2, 16)
    narrow = make("multiplicative", [8, 16], input_dim=4)
    assert all(isinstance(adapter, nn.Linear) for adapter in narrow.adapters)


def test_the_hidden_dimension_is_used_and_defaults_to_the_input_dimension() -> None:
    def dims(module: FusionModule) -> tuple[int, int]:
        first = module.mlp[0]  # type: ignore[index]
        assert isinstance(first, nn.Linear)
        return first.in_features, first.out_features

    assert dims(make("multiplicative", [16, 16])) == (16, 16)
    assert dims(make("multiplicative", [16, 16], hidden_dim=40)) == (16, 40)
    project = make("concatenation", [16, 16], hidden_dim=40).combine.project
    assert (project[0].in_features, project[0].out_features, project[3].out_features) == (32, 40, 16)  # type: ignore[index, union-attr]


def test_norm_false_removes_the_layer_norms() -> None:
    module = make("simpleAddition", [16] * 2, norm=False)
    assert not any(isinstance(m, nn.LayerNorm) for m in module.modules())
    kept = make("simpleAddition", [16] * 2)
    assert [m.eps for m in kept.modules() if isinstance(m, nn.LayerNorm)] == [1e-5, 1e-5]


@pytest.mark.parametrize(
    ("fusion_type", "dims", "options", "message"),
    [
        ("mean", [16], {}, "unknown fusion type 'mean': choose one of multiplicative, multiplicativeAddition"),
        ("multiplicatve", [16], {}, "did you mean multiplicative?"),
        ("multiplicative", [], {}, "at least one expert"),
        ("concatenation", [16], {"encoder": True}, "encoder is an option of TransformerBase, not of concatenation"),
        ("multiplicative", [16], {"weights": "none"}, "an option of multiplicativeAddition and simpleAddition, not of"),
        ("multiplicative", [16], {"hidden_dim": -1}, "greater than or equal to 1"),
        ("TransformerBase", [12], {}, "D = 12 .* 8 does not divide it: choose fusion.heads from 1, 2, 3, 4, 6, 12,"),
        ("TransformerBase", [12], {"encoder": True}, "choose fusion.heads from 1, 2, 3, 4, 6, 12,"),
    ],
)
def test_an_impossible_fusion_module_is_refused(
    fusion_type: str, dims: list[int], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make(fusion_type, dims, **options)


def test_features_of_other_dimensions_are_refused() -> None:
    module = make("multiplicative", [16, 16])
    for inputs in ([torch.randn(2, 16)], [torch.randn(2, 16), torch.randn(2, 15)]):
        with pytest.raises(ValueError, match=r"expects features of dimensions \(16, 16\)"):
            module(inputs)
