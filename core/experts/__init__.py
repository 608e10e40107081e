"""Expert networks: features, and logits of their own."""

from __future__ import annotations

from core.experts.base import Expert
from core.experts.table import EXPERTS, build_expert, detect_feature_dim

__all__ = ["EXPERTS", "Expert", "build_expert", "detect_feature_dim"]
