"""What each component's training is governed by: learning rate, schedule, clip, accumulation."""

from __future__ import annotations

from core.policies.rates import Rate, resolve_rates
from core.policies.schedules import describe_schedule, rate_at
from core.policies.updates import StepReport, Updates

__all__ = ["Rate", "StepReport", "Updates", "describe_schedule", "rate_at", "resolve_rates"]
