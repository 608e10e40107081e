"""Sweeps as clients send them and as the API shows them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.jobs.schemas import Estimate, Time
from app.models import State
from app.results.metrics.directions import Mode
from core.spec import KINDS
from core.spec.fields import SafeName, Text

MAX_FIELDS = 32
FIELD_PATH = r"^[A-Za-z_][A-Za-z0-9_]*(\.([A-Za-z_][A-Za-z0-9_]*|[0-9]{1,4}))*$"
FieldPath = Annotated[str, StringConstraints(max_length=200, pattern=FIELD_PATH)]
Values = Annotated[list[Any], Field(min_length=1)]
# Metrics that are measured during training.
TRAINING_METRIC = (
    r"^(val/(accuracy_(fused|ensemble|expert_[0-9]{1,2})|loss_global)"
    r"|train/(accuracy_(fused|expert_0)|loss_(total|global|individual|distillation)))$"
)
_GRID_SCHEMA: dict[str, Any] = {
    "propertyNames": {"maxLength": 200, "pattern": FIELD_PATH, "not": {"enum": ["kind", "name"]}},
    "patternProperties": {FIELD_PATH: {"type": "array", "items": {}, "minItems": 1, "uniqueItems": True}},
    "additionalProperties": False,
}
_BASE_SCHEMA: dict[str, Any] = {"required": ["kind"], "properties": {"kind": {"enum": list(KINDS)}}}


class _RequestModel(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class EarlyStopping(_RequestModel):
    """Asynchronous successive halving (ASHA, arXiv:1810.05934) that stops the jobs that fall behind.

    After `min_epochs` times every power of `reduction_factor` epochs, a job continues only if it is among the best
    1/`reduction_factor` of the jobs that have come as far. `metric` defaults to the accuracy on the validation set,
    `mode` to the direction of the metric.
    """

    metric: Annotated[str, StringConstraints(max_length=100, pattern=TRAINING_METRIC)] | None = None
    mode: Mode | None = None
    min_epochs: Annotated[int, Field(ge=1, le=100_000)] = 1
    reduction_factor: Annotated[int, Field(ge=2, le=100)] = 3


class NewSweep(_RequestModel):
    """A sweep to submit: one job for every combination of the values in `grid`, whose keys are paths into `base`."""

    name: Text = ""
    base: Annotated[
        dict[str, Any],
        Field(description="A job specification without the fields in `grid`.", json_schema_extra=_BASE_SCHEMA),
    ]
    grid: Annotated[dict[FieldPath, Values], Field(min_length=1, max_length=MAX_FIELDS, json_schema_extra=_GRID_SCHEMA)]
    max_parallel: Annotated[int, Field(ge=1, le=100_000, description="The most jobs that run at once.")] | None = None
    points_per_task: Annotated[
        int,
        Field(
            ge=1,
            le=10_000,
            description="On Slurm, the number of points that one array task runs one after another in one process: "
            "short jobs then share a place in the queue and the start of Python. Other executors ignore it.",
        ),
    ] = 1
    tags: Annotated[list[SafeName], Field(max_length=32, description="Added to the tags of the base.")] = []
    fresh: Annotated[bool, Field(description="Train every point, even if an equal job exists.")] = False
    early_stopping: EarlyStopping | None = None


class RowDifference(BaseModel):
    """The test accuracy of a row minus that of the baseline row, with its 95 % interval and two-sided p value.

    `method` is `seeds`, the paired t test over the `n` seeds that both rows have, or `images` where they have one seed
    in common: the paired bootstrap interval and the exact McNemar test on the `n` test images of these two jobs.
    """

    value: float
    low: float
    high: float
    p: float
    method: Literal["seeds", "images"]
    n: int


class LeaderboardRow(BaseModel):
    """The points that differ only in seeds, of which `n` have the metric.

    `std` is the sample standard deviation, `low` to `high` the 95 % interval of the mean over seeds (Student's t);
    null for fewer than two. `test_accuracy` is the mean accuracy on test images, `difference` what it is more than that
    of the baseline row; where that is null, `no_difference` says why. Only `GET /sweeps/ID` compares rows.
    """

    values: dict[str, Any]
    n: int
    mean: float | None
    std: float | None
    low: float | None
    high: float | None
    test_accuracy: float | None
    best: str | None
    jobs: list[str]
    stopped_early: bool
    is_baseline: bool = False
    difference: RowDifference | None = None
    no_difference: str | None = None


class SweepSummary(BaseModel):
    """A sweep. `counts` are its points by the state of their jobs; `missing` counts those whose job was deleted."""

    id: str
    name: str
    owner: str
    created_at: Time
    grid: dict[str, list[Any]]
    max_parallel: int | None
    points_per_task: int
    early_stopping: EarlyStopping | None
    count: int
    counts: dict[State, int]
    missing: int
    reused: int
    stopped_early: int
    links: dict[str, str]


class SweepView(SweepSummary):
    """A sweep with its leaderboard: ordered by the mean of `metric`, best first, points without a value last.

    `better` is null for a metric of which neither higher nor lower values are better, such as `val/disagreement`: rows
    are then in order, and the first one is not the best. `run_value` says which value of each run counts: the `best`
    over all epochs, or the `last`.
    """

    base: dict[str, Any]
    metric: str
    mode: Mode
    better: Mode | None
    run_value: Literal["best", "last"]
    leaderboard: list[LeaderboardRow]


class SweepPage(BaseModel):
    """A page of sweeps."""

    items: list[SweepSummary]
    next_cursor: str | None


class PointView(BaseModel):
    """A point with its values and its job; `reused` means that the job existed before."""

    number: int
    values: dict[str, Any]
    job: str | None
    state: State | None
    reused: bool
    stopped_early: bool
    value: float | None


class PointPage(BaseModel):
    """A page of points."""

    items: list[PointView]
    next_cursor: str | None


class NewPoint(BaseModel):
    """A point as it would be created; `job` is the existing job that it would reuse.

    `why_not_reused` says why a job of the same specification is not: other data, code, libraries or device.
    """

    number: int
    values: dict[str, Any]
    name: str
    job: str | None
    reused: bool
    why_not_reused: str | None


class NewControl(BaseModel):
    """A control job as it would be created, or the existing job that it would reuse, once for all points that share it.

    `points` is how many points have it, in one of these `roles`. Without a job, `absent` says why there cannot be one.
    """

    roles: list[str]
    name: str | None
    job: str | None
    reused: bool
    why_not_reused: str | None
    absent: str | None
    points: int


class SweepDryRun(BaseModel):
    """A sweep as it would be stored: validated and resolved. `specs` are in the order of `points`.

    The estimate is for all new jobs: points and their `controls`.
    """

    count: int
    new: int
    reused: int
    points: list[NewPoint]
    specs: list[dict[str, Any]]
    new_controls: int
    reused_controls: int
    controls: list[NewControl]
    estimate: Estimate
