"""Loss functions of joint training."""

from __future__ import annotations

from core.losses.distillation import mutual_distillation
from core.losses.dual_path import DualPathLoss, LossParts

__all__ = ["DualPathLoss", "LossParts", "mutual_distillation"]
