"""Sweeps as clients send and see them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.jobs.schemas import StateName
from core.spec.fields import SafeName, Text

MAX_FIELDS = 32
FieldPath = Annotated[
    str, StringConstraints(max_length=200, pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.([A-Za-z_][A-Za-z0-9_]*|[0-9]{1,4}))*$")
]
Values = Annotated[list[Any], Field(min_length=1)]
Mode = Literal["max", "min"]
# What is measured while a job trains.
DURING = (
    r"^(val/(accuracy_(fused|ensemble|expert_[0-9]{1,2})|loss_global)"
    r"|train/(accuracy_(fused|expert_0)|loss_(total|global|individual|distillation)))$"
)


class _Given(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class EarlyStopping(_Given):
    """Stop what lags behind: successive halving, asynchronously (arXiv:1810.05934), by stopping.

    After `min_epochs` times every power of `reduction_factor` a job goes on only if it is among the best
    1/`reduction_factor` of those that have come as far. `metric` null is the accuracy on the validation set, `mode`
    null goes by the metric.
    """

    metric: Annotated[str, StringConstraints(max_length=100, pattern=DURING)] | None = None
    mode: Mode | None = None
    min_epochs: Annotated[int, Field(ge=1, le=100_000)] = 1
    reduction_factor: Annotated[int, Field(ge=2, le=100)] = 3


class NewSweep(_Given):
    """A sweep to make: one job for every combination of the values in `grid`, whose keys are paths of the base."""

    name: Text = ""
    base: Annotated[dict[str, Any], Field(description="A job specification, without what the grid gives.")]
    grid: Annotated[dict[FieldPath, Values], Field(min_length=1, max_length=MAX_FIELDS)]
    max_parallel: Annotated[int, Field(ge=1, le=100_000)] | None = None
    tags: Annotated[list[SafeName], Field(max_length=32, description="Added to the base's.")] = []
    fresh: Annotated[bool, Field(description="Train anew what has been trained before.")] = False
    early_stopping: EarlyStopping | None = None


class Row(BaseModel):
    """The points that differ in seeds only. `n` of them have the metric; `std` is the sample's."""

    values: dict[str, Any]
    n: int
    mean: float | None
    std: float | None
    best: str | None
    jobs: list[str]
    stopped_early: bool


class SweepSummary(BaseModel):
    """A sweep. `counts` are of its points by the state of their jobs, `missing` those whose job was deleted."""

    id: str
    name: str
    owner: str
    created_at: str
    grid: dict[str, list[Any]]
    max_parallel: int | None
    early_stopping: EarlyStopping | None
    count: int
    counts: dict[StateName, int]
    missing: int
    reused: int
    stopped_early: int
    links: dict[str, str]


class SweepView(SweepSummary):
    """A sweep with its leaderboard: best first by the mean of `metric`, what has none yet last."""

    base: dict[str, Any]
    metric: str
    mode: Mode
    leaderboard: list[Row]


class SweepPage(BaseModel):
    """A page of sweeps."""

    items: list[SweepSummary]
    next_cursor: str | None


class PointView(BaseModel):
    """A point: its values and the job that trains it, `reused` if another point or sweep had it made."""

    number: int
    values: dict[str, Any]
    job: str | None
    state: StateName | None
    reused: bool
    stopped_early: bool
    value: float | None


class PointPage(BaseModel):
    """A page of points."""

    items: list[PointView]
    next_cursor: str | None


class Estimate(BaseModel):
    """What the new jobs may cost: `gpu_hours` from `based_on` jobs that have succeeded here, null without such jobs."""

    gpu_hours: float | None
    based_on: int
    why: str


class NewPoint(BaseModel):
    """A point as it would be: `job` is one that is there already."""

    number: int
    values: dict[str, Any]
    name: str
    job: str | None
    reused: bool


class SweepDryRun(BaseModel):
    """What a sweep would be: checked and resolved, nothing stored. `specs` are in the order of `points`."""

    count: int
    new: int
    reused: int
    points: list[NewPoint]
    specs: list[dict[str, Any]]
    estimate: Estimate
