"""What each fusion type computes from the features n₁ to n_K, in one line."""

from __future__ import annotations

FORMULAS = {
    "multiplicative": "∏ nₖ",
    "multiplicativeAddition": "∏ nₖ + Σ softmax(w)ₖ nₖ",
    "multiplicativeShifted": "∏ (nₖ + 1)",
    "simpleAddition": "Σ softmax(w)ₖ nₖ",
    "concatenation": "MLP [n₁ … n_K]",
    "TransformerBase": "mean attention(n₁…n_K)",
}
