"""Learning-rate schedules by name: a function of the epoch alone, so that a resumed run has nothing to restore."""

from __future__ import annotations

import math

from core.spec import Schedule


def rate_at(schedule: Schedule, lr: float, epoch: int, epochs: int) -> float:
    """The learning rate during an epoch, counted from 0, of a run of `epochs`; `lr` is the base rate.

    The closed forms of PyTorch's schedulers of the same names (SGDR, arXiv:1608.03983, eq. 5).
    """
    match schedule.type:
        case "constant":
            return lr
        case "CosineAnnealingLR":
            return _cosine(lr, schedule.eta_min, epoch / (schedule.t_max or epochs))
        case "CosineAnnealingWarmRestarts":
            length = _first_cycle(schedule, epochs)
            while epoch >= length:
                epoch -= length
                length *= schedule.t_mult
            return _cosine(lr, schedule.eta_min, epoch / length)


def _cosine(lr: float, eta_min: float, position: float) -> float:
    return lr * (eta_min + (1.0 - eta_min) * (1.0 + math.cos(math.pi * position)) / 2.0)


def _first_cycle(schedule: Schedule, epochs: int) -> int:
    return schedule.t_0 or max(1, epochs // 4)


def describe_schedule(schedule: Schedule, epochs: int) -> str:
    """The schedule in words, with its times resolved."""
    match schedule.type:
        case "constant":
            return "constant"
        case "CosineAnnealingLR":
            return f"CosineAnnealingLR(T_max={schedule.t_max or epochs}, eta_min={schedule.eta_min:g} lr)"
        case "CosineAnnealingWarmRestarts":
            first = _first_cycle(schedule, epochs)
            return (
                f"CosineAnnealingWarmRestarts(T_0={first}, T_mult={schedule.t_mult}, eta_min={schedule.eta_min:g} lr)"
            )
