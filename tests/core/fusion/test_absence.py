"""Experts that are absent from the fused path: draws, neutral elements, every subset."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from core.fusion import FusionModule
from core.fusion.absence import draw_present
from core.fusion.subsets import Workspace, fold_subsets, merged, without_neutral
from core.spec import FUSION_TYPES, FusionOptions
from core.spec.parameters import fusion_parameters

K, DIM, BATCH = 3, 16, 6
VARIANTS: list[tuple[str, dict[str, Any]]] = [(fusion_type, {}) for fusion_type in FUSION_TYPES] + [
    ("TransformerBase", {"encoder": True}),
    ("TransformerBase", {"heads": 2}),
    ("simpleAddition", {"weights": "none"}),
    ("concatenation", {"mlp": False}),
    ("multiplicative", {"norm": False, "mlp": False}),
]


def make(fusion_type: str, num_experts: int = K, **options: Any) -> FusionModule:
    torch.manual_seed(0)
    return FusionModule(fusion_type, [DIM] * num_experts, options=FusionOptions(**options))


def features(num_experts: int = K, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(BATCH, DIM, generator=generator, requires_grad=True) for _ in range(num_experts)]


def present(*experts: int, num_experts: int = K) -> Tensor:
    return torch.tensor([k in experts for k in range(num_experts)]).expand(BATCH, -1)


def randomized(module: FusionModule) -> FusionModule:
    """The module with parameters that no symmetry hides, such as learned elements that differ from their start."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return module


def subset_outputs(module: FusionModule, inputs: list[Tensor], head: nn.Module) -> Tensor:
    """The outputs of all images, which are computed in batches of four."""
    return torch.cat(list(module.subset_outputs(inputs, module.subset_layers(head), batch_size=4)), dim=1)


def test_an_image_never_loses_all_experts_and_loses_each_as_often_as_the_rate_says() -> None:
    drawn = torch.cat([draw_present(0.3, 4, 500, seed=3, step=step) for step in range(20)])
    assert drawn.any(dim=1).all()
    # An expert stays with 0.7, and with a quarter of the probability 0.3^4 that all would go.
    assert drawn.double().mean(dim=0).tolist() == pytest.approx([0.7 + 0.3**4 / 4] * 4, abs=0.015)
    # Images are drawn for each on its own.
    assert len(drawn.unique(dim=0)) == 15
    assert draw_present(0.99, 1, 50, seed=0, step=0).all()
    almost_all = draw_present(0.999, 4, 400, seed=0, step=1)
    assert almost_all.any(dim=1).all()
    assert (almost_all.sum(dim=0) > 60).all()


def test_draws_are_a_function_of_seed_and_step_and_are_split_among_processes() -> None:
    whole = draw_present(0.5, 4, 32, seed=1, step=7)
    assert torch.equal(whole, draw_present(0.5, 4, 32, seed=1, step=7))
    assert not torch.equal(whole, draw_present(0.5, 4, 32, seed=1, step=8))
    assert not torch.equal(whole, draw_present(0.5, 4, 32, seed=2, step=7))
    parts = [draw_present(0.5, 4, 8, seed=1, step=7, rank=rank, world_size=4) for rank in range(4)]
    assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize(("fusion_type", "options"), VARIANTS)
@pytest.mark.parametrize("expert_dropout", [0.0, 0.3])
def test_every_type_runs_with_every_subset_and_absent_features_have_no_effect(
    fusion_type: str, options: dict[str, Any], expert_dropout: float
) -> None:
    module = randomized(make(fusion_type, expert_dropout=expert_dropout, **options)).eval()
    inputs, others = features(), features(seed=1)
    head = nn.Linear(DIM, 5)
    fast_SBC = subset_outputs(module, inputs, head)
    assert fast_SBC.shape == (1 << K, BATCH, 5)
    for mask, fast_BC in enumerate(fast_SBC):
        members = [k for k in range(K) if mask >> k & 1]
        fused = module(inputs, present(*members))
        assert torch.isfinite(fused).all()
        # The other features of absent experts may be anything.
        swapped = [inputs[k] if k in members else others[k] for k in range(K)]
        assert torch.equal(module(swapped, present(*members)), fused)
        assert torch.allclose(fast_BC, head(fused), atol=1e-5), members
    assert torch.allclose(module(inputs), module(inputs, present(0, 1, 2)), atol=1e-6)


@pytest.mark.parametrize("fusion_type", FUSION_TYPES)
def test_an_absent_expert_gets_no_gradient_and_one_that_is_present_does(fusion_type: str) -> None:
    module = randomized(make(fusion_type, expert_dropout=0.3, dropout=0.0))
    inputs = features()
    mask = present(0, 1, 2).clone()
    mask[:, 1] = False
    mask[0] = torch.tensor([False, True, True])
    (module(inputs, mask) * torch.randn(BATCH, DIM)).sum().backward()
    gradients = [feature.grad for feature in inputs]
    assert all(gradient is not None for gradient in gradients)
    touched = torch.stack([gradient.abs().sum(dim=1) > 0 for gradient in gradients if gradient is not None], dim=1)
    assert torch.equal(touched, mask)
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize(
    ("fusion_type", "alone"),
    [
        ("multiplicative", lambda n, w: n[0] * n[2]),
        ("multiplicativeShifted", lambda n, w: (n[0] + 1) * (n[2] + 1)),
        ("simpleAddition", lambda n, w: w[0] * n[0] + w[2] * n[2]),
        ("multiplicativeAddition", lambda n, w: n[0] * n[2] + w[0] * n[0] + w[2] * n[2]),
    ],
)
@pytest.mark.parametrize("expert_dropout", [0.0, 0.3])
def test_untrained_neutral_elements_leave_the_result_to_the_others(
    fusion_type: str, alone: Any, expert_dropout: float
) -> None:
    module = make(fusion_type, mlp=False, norm=False, expert_dropout=expert_dropout)
    inputs = features()
    expected = alone(inputs, torch.ones(K).softmax(0))
    assert torch.allclose(module(inputs, present(0, 2)), expected, atol=1e-6)


def test_every_expert_has_a_neutral_element_of_its_own() -> None:
    module = randomized(make("multiplicative", mlp=False, norm=False, expert_dropout=0.3))
    elements = module.combine.absent.elements
    assert elements is not None
    inputs = features()
    for absent in range(K):
        others = [k for k in range(K) if k != absent]
        expected = elements[absent] * inputs[others[0]] * inputs[others[1]]
        assert torch.allclose(module(inputs, present(*others)), expected, atol=1e-6)
    assert sorted(module.neutral_elements()) == ["combine.absent.elements"]


def test_an_absent_token_is_left_out_of_attention_and_mean() -> None:
    module = make("TransformerBase", expert_dropout=0.3).eval()
    pair = make("TransformerBase", num_experts=2).eval()
    pair.load_state_dict(
        {
            key.replace("norms.2", "norms.1"): value
            for key, value in module.state_dict().items()
            if not key.startswith("norms.1")
        }
    )
    inputs = features()
    assert torch.allclose(module(inputs, present(0, 2)), pair([inputs[0], inputs[2]]), atol=1e-6)


@pytest.mark.parametrize("fusion_type", FUSION_TYPES)
def test_neutral_elements_are_parameters_only_with_expert_dropout(fusion_type: str) -> None:
    plain, dropped = make(fusion_type), make(fusion_type, expert_dropout=0.3)
    learned = dropped.state_dict().keys() - plain.state_dict().keys()
    assert len(learned) == {"TransformerBase": 0, "multiplicativeAddition": 2}.get(fusion_type, 1)
    assert not any("absent" in key for key in plain.state_dict())
    # No random number is drawn for them.
    assert all(torch.equal(dropped.state_dict()[key], value) for key, value in plain.state_dict().items())
    options = FusionOptions(expert_dropout=0.3)
    count = sum(parameter.numel() for parameter in dropped.parameters())
    assert fusion_parameters(fusion_type, [DIM] * K, DIM, options) == count


def test_a_fold_shares_partial_results_and_keeps_the_order_of_each_set() -> None:
    numbers = 0

    def join(left: Tensor, right: Tensor, /, *, out: Tensor) -> Tensor:
        nonlocal numbers
        numbers += left.numel()
        return out.copy_(10 * left + right)

    ones = [torch.tensor([[k + 1.0]]) for k in range(4)]
    folded = fold_subsets(join, ones, [torch.zeros(1)] * 4).flatten()
    assert [folded[mask].item() for mask in (0, 1, 6, 15)] == [0, 1000, 230, 1234]
    assert numbers == 4 + 8 + 16


def test_an_absent_term_that_changes_nothing_is_left_out_of_a_fold() -> None:
    absent = [torch.ones(2), torch.tensor([1.0, 2.0]), torch.ones(2), torch.tensor([1.0, float("nan")])]
    kept = without_neutral(absent, 1.0)
    assert [term is None for term in kept] == [False, False, True, False]
    factors = [torch.randn(3, 2) for _ in range(4)]
    folded, expected = (fold_subsets(torch.mul, factors, terms) for terms in (kept, absent))
    assert torch.equal(folded.nan_to_num(7.0), expected.nan_to_num(7.0))


def test_a_workspace_is_one_memory_for_every_batch() -> None:
    workspace, like = Workspace(), torch.zeros(1)
    addresses = {workspace.empty((count, 4), like, torch.float32).data_ptr() for count in (3, 3, 2)}
    assert len(addresses) == 1
    assert workspace.empty((5, 4), like, torch.float32).shape == (5, 4)
    assert workspace.empty((3, 4), like, torch.bfloat16).dtype == torch.bfloat16


def test_linear_layers_in_a_row_are_merged_where_that_is_less_work() -> None:
    torch.manual_seed(0)
    wide = nn.Sequential(nn.Linear(8, 32), nn.Linear(32, 4))
    narrow = nn.Sequential(nn.Linear(8, 2), nn.Linear(2, 8, bias=False))
    mixed = nn.Sequential(wide, nn.Dropout(0.5), nn.Identity(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    for layers, count in ((wide, 1), (narrow, 2), (mixed, 3)):
        inputs = torch.randn(3, 8)
        replaced = merged([layers])
        assert len(replaced) == count
        assert torch.allclose(replaced(inputs), layers.eval()(inputs), atol=1e-5)


@pytest.mark.parametrize(("fusion_type", "options"), VARIANTS)
def test_subsets_under_autocast_are_those_of_the_plain_way(fusion_type: str, options: dict[str, Any]) -> None:
    module, head = randomized(make(fusion_type, expert_dropout=0.3, **options)).eval(), nn.Linear(DIM, 5)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        for mask, outputs_BC in enumerate(subset_outputs(module, features(), head)):
            plain_BC = head(module(features(), present(*[k for k in range(K) if mask >> k & 1])))
            assert torch.allclose(outputs_BC.float(), plain_BC.float(), atol=0.05, rtol=0.05), mask


def test_what_a_type_is_linear_in_is_multiplied_once_for_all_subsets() -> None:
    experts, dim = 6, 64

    def work(fusion_type: str) -> int:
        """The operations of all products of matrices."""
        module = FusionModule(fusion_type, [dim] * experts, options=FusionOptions(heads=2)).eval()
        # The counter knows no products in place.
        in_place = {torch.ops.aten.addmm_: lambda _, left, right, **__: 2 * left[0] * left[1] * right[1]}
        counter = FlopCounterMode(display=False, custom_mapping=in_place)
        inputs = [torch.randn(BATCH, dim) for _ in range(experts)]
        with counter:
            subset_outputs(module, inputs, nn.Linear(dim, 5))
        return int(counter.get_total_flops())

    first_layer, last_layer = (2 * (1 << experts) * BATCH * dim * width for width in (dim, 5))
    assert work("multiplicative") >= first_layer + last_layer
    assert work("multiplicativeAddition") < 1.2 * first_layer + last_layer
    for fusion_type in ("simpleAddition", "concatenation"):
        assert work(fusion_type) < 0.2 * first_layer + last_layer
    assert work("TransformerBase") < first_layer


def test_absent_experts_compile() -> None:
    module = randomized(make("multiplicative", expert_dropout=0.3, dropout=0.0))
    compiled: nn.Module = torch.compile(module, backend="eager", fullgraph=True)  # type: ignore[assignment]
    mask = draw_present(0.5, K, BATCH, seed=0, step=0)
    assert torch.equal(compiled(features(), mask), module(features(), mask))
