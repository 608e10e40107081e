"""What each component's training is governed by: learning rate, schedule, clip, accumulation."""

from __future__ import annotations

from core.policies.rates import Rate, resolve_rates
from core.policies.schedules import build_schedule, describe_schedule
from core.policies.updates import StepReport, Updates

__all__ = ["Rate", "StepReport", "Updates", "build_schedule", "describe_schedule", "resolve_rates"]
