from __future__ import annotations

import pytest

from core.spec import FUSION_TYPES
from core.spec.fusion_sizes import degeneracy_warning

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
