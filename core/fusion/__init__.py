"""Fusion modules: K experts' features to one."""

from __future__ import annotations

from core.fusion.base import Combine, FusionOptions
from core.fusion.module import FusionModule
from core.fusion.table import FUSIONS

__all__ = ["FUSIONS", "Combine", "FusionModule", "FusionOptions"]
