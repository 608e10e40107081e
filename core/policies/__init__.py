"""The optimizer of every component: learning rate, schedule, clipping, accumulation."""

from __future__ import annotations

from core.policies.component_optimizers import ComponentOptimizers, StepReport
from core.policies.schedules import describe_schedule, rate_at
from core.spec.rates import Rate, resolve_policies, resolve_rates

__all__ = [
    "ComponentOptimizers",
    "Rate",
    "StepReport",
    "describe_schedule",
    "rate_at",
    "resolve_policies",
    "resolve_rates",
]
