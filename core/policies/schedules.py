"""Learning-rate schedules as functions of the epoch alone, so that a resumed run has no scheduler state to restore."""

from __future__ import annotations

import math

from core.spec import Schedule


def rate_at(schedule: Schedule, lr: float, epoch: int, epochs: int) -> float:
    """The learning rate during an epoch, counted from 0, of a run of `epochs`; `lr` is the base rate.

    The closed forms of PyTorch's schedulers of the same names (SGDR, arXiv:1608.03983, eq. 5). Unlike PyTorch's
    `eta_min`, the lowest rate is relative to the base rate.
    """
    match schedule.type:
        case "constant":
            return lr
        case "CosineAnnealingLR":
            return _cosine(lr, schedule.min_lr_factor, epoch / (schedule.t_max or epochs))
        case "CosineAnnealingWarmRestarts":
            length = _first_cycle(schedule, epochs)
            while epoch >= length:
                epoch -= length
                length *= schedule.t_mult
            return _cosine(lr, schedule.min_lr_factor, epoch / length)


def _cosine(lr: float, min_lr_factor: float, position: float) -> float:
    return lr * (min_lr_factor + (1.0 - min_lr_factor) * (1.0 + math.cos(math.pi * position)) / 2.0)


def _first_cycle(schedule: Schedule, epochs: int) -> int:
    return schedule.t_0 or max(1, epochs // 4)


def describe_schedule(schedule: Schedule, epochs: int) -> str:
    """One line that names the schedule and its resolved times, for the plan."""
    lowest = f"eta_min={schedule.min_lr_factor:g} lr"
    match schedule.type:
        case "constant":
            return "constant"
        case "CosineAnnealingLR":
            return f"CosineAnnealingLR(T_max={schedule.t_max or epochs}, {lowest})"
        case "CosineAnnealingWarmRestarts":
            first = _first_cycle(schedule, epochs)
            return f"CosineAnnealingWarmRestarts(T_0={first}, T_mult={schedule.t_mult}, {lowest})"
