"""Time limits: when to send the stop signal, and whether an attempt was stopped because its time was nearly over."""

from __future__ import annotations

import math
from typing import Any

from core.run.protocol import Outcome, OutcomeKind

# Used until the time that a checkpoint takes has been measured.
DEFAULT_LEAD_S = 60
MIN_LEAD_S = 15


def lead_s(progress: dict[str, Any] | None, time_limit_min: int | None) -> int:
    """How many seconds before the time limit to send the stop signal.

    That is enough for the step under way and two checkpoints, because one may be half written at the time; at most a
    third of the time limit. 0 without a limit.
    """
    if time_limit_min is None:
        return 0
    checkpoint_s = (progress or {}).get("checkpoint_s")
    lead = DEFAULT_LEAD_S if checkpoint_s is None else MIN_LEAD_S + math.ceil(3 * checkpoint_s)
    return min(lead, 20 * time_limit_min)


def stopped_near_time_limit(outcome: Outcome, time_limit_min: int | None, *, signal: str, tolerance_s: float) -> bool:
    """Whether the process was stopped because its time was nearly over.

    The same signal comes before a preemption; where the executor does not say which it was, the time since the process
    started is the only evidence.
    """
    if outcome.kind is not OutcomeKind.stopped or outcome.signal != signal or time_limit_min is None:
        return False
    if outcome.started_at is None or outcome.stopped_at is None:
        return False
    due_at = outcome.started_at + 60.0 * time_limit_min - outcome.lead_s
    return outcome.stopped_at >= due_at - tolerance_s
