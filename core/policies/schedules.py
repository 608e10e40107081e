"""Learning-rate schedules by name, stepped once an epoch."""

from __future__ import annotations

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, CosineAnnealingWarmRestarts, LRScheduler

from core.spec import Schedule


def build_schedule(optimizer: Optimizer, schedule: Schedule, lr: float, epochs: int) -> LRScheduler:
    """The schedule for an optimizer of base rate `lr` over `epochs` epochs (SGDR: arXiv:1608.03983)."""
    eta_min = schedule.eta_min * lr
    match schedule.type:
        case "CosineAnnealingLR":
            return CosineAnnealingLR(optimizer, T_max=schedule.t_max or epochs, eta_min=eta_min)
        case "CosineAnnealingWarmRestarts":
            first = schedule.t_0 or max(1, epochs // 4)
            return CosineAnnealingWarmRestarts(optimizer, T_0=first, T_mult=schedule.t_mult, eta_min=eta_min)
        case "constant":
            return ConstantLR(optimizer, factor=1.0, total_iters=0)


def describe_schedule(schedule: Schedule, epochs: int) -> str:
    """The schedule in words, with its times resolved."""
    match schedule.type:
        case "CosineAnnealingLR":
            return f"CosineAnnealingLR(T_max={schedule.t_max or epochs}, eta_min={schedule.eta_min:g} lr)"
        case "CosineAnnealingWarmRestarts":
            first = schedule.t_0 or max(1, epochs // 4)
            return (
                f"CosineAnnealingWarmRestarts(T_0={first}, T_mult={schedule.t_mult}, eta_min={schedule.eta_min:g} lr)"
            )
        case "constant":
            return "constant"
