"""Experts: backbones with a classification head of their own."""

from __future__ import annotations

from core.experts.base import Expert
from core.experts.build import build_expert, detect_feature_dim
from core.experts.meta import skip_random_init_on_meta

__all__ = ["Expert", "build_expert", "detect_feature_dim", "skip_random_init_on_meta"]
