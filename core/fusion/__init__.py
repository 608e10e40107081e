"""Fusion modules: the features of K experts to one feature vector."""

from __future__ import annotations

from core.fusion.base import Combine, FusionSizes
from core.fusion.module import FusionModule

__all__ = ["Combine", "FusionModule", "FusionSizes"]
