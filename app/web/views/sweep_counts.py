"""The points of a sweep by state, as the parts of a bar."""

from __future__ import annotations

from dataclasses import dataclass

from app.models import State
from app.sweeps.schemas import SweepSummary

# From finished to not begun, so that a bar fills from the left.
ORDER = (
    State.succeeded,
    State.failed,
    State.cancelled,
    State.cancelling,
    State.pausing,
    State.paused,
    State.running,
    State.starting,
    State.queued,
    State.waiting,
)
# The length of a whole bar.
LENGTH = 120


@dataclass(frozen=True)
class Share:
    """The points in one state, and the part of the bar that they take."""

    state: str
    count: int
    x: float
    width: float


def shares(sweep: SweepSummary) -> list[Share]:
    """The states that points of a sweep are in. Points whose job was deleted leave a gap at the end of the bar."""
    shares = []
    x = 0.0
    for state in ORDER:
        count = sweep.counts.get(state, 0)
        if count:
            width = LENGTH * count / max(1, sweep.count)
            shares.append(Share(state.value, count, round(x, 2), round(width, 2)))
            x += width
    return shares
