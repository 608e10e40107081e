"""Warns where a product of expert features degenerates."""

from __future__ import annotations

_PRODUCTS = ("multiplicative", "multiplicativeAddition", "multiplicativeShifted")
_MIN_DIM = 8
_MAX_EXPERTS = 8


def degeneracy_warning(fusion_type: str, input_dim: int, num_experts: int, *, norm: bool = True) -> str | None:
    """A warning for fusion types that multiply features of too few dimensions or of too many experts, else None."""
    if fusion_type not in _PRODUCTS or ((input_dim >= _MIN_DIM or not norm) and num_experts <= _MAX_EXPERTS):
        return None
    return (
        f"{fusion_type} multiplies the features of {num_experts} experts with D = {input_dim}: with D below {_MIN_DIM} "
        f"or more than {_MAX_EXPERTS} experts the product degenerates. Use simpleAddition or concatenation instead"
    )
