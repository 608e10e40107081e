from __future__ import annotations

import pytest

from core.plan.data_size import find_data_size
from core.plan.plan import make_plan
from core.spec import FUSION_TYPES, parse_spec
from core.spec.fusion_sizes import degeneracy_warning
from core.spec.outline import outline
from tests.core.jobs import expert, fusion

PRODUCTS = [name for name in FUSION_TYPES if name.startswith("multiplicative")]


@pytest.mark.parametrize("fusion_type", PRODUCTS)
@pytest.mark.parametrize(
    ("dim", "num_experts", "causes"),
    [(8, 8, []), (512, 4, []), (7, 4, ["D = 7"]), (64, 16, ["K = 16"]), (4, 9, ["D = 4", "K = 9"])],
)
def test_a_product_of_few_dimensions_or_many_experts_is_degenerate(
    fusion_type: str, dim: int, num_experts: int, causes: list[str]
) -> None:
    warning = degeneracy_warning(fusion_type, dim, num_experts)
    assert (warning is not None) == bool(causes)
    assert all(cause in str(warning) for cause in causes)


def test_types_without_a_product_have_no_warning() -> None:
    assert {degeneracy_warning(name, 2, 64) for name in FUSION_TYPES if name not in PRODUCTS} == {None}


def test_few_dimensions_matter_only_with_normalisation() -> None:
    assert degeneracy_warning("multiplicative", 4, 4, norm=False) is None
    assert degeneracy_warning("multiplicative", 4, 9, norm=False) is not None


@pytest.mark.parametrize(("num_experts", "rate", "warns"), [(1, 0.3, True), (1, 0.0, False), (2, 0.3, False)])
def test_expert_dropout_with_one_expert_is_accepted_with_a_warning(num_experts: int, rate: float, warns: bool) -> None:
    spec = parse_spec(fusion(count=num_experts, fusion={"expert_dropout": rate}))
    planned = make_plan(spec, find_data_size(spec, []), {}).to_json()
    assert planned["warnings"] == outline(spec).warnings
    warnings = [warning for warning in planned["warnings"] if "expert_dropout" in warning]
    assert ["never leaves out the only expert" in warning for warning in warnings] == [True] * warns


def test_an_expert_by_itself_has_no_expert_dropout_to_be_warned_about() -> None:
    assert [warning for warning in outline(parse_spec(expert())).warnings if "expert_dropout" in warning] == []
