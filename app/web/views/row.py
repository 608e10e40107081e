"""A job as a row of a list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.jobs.schemas import JobSummary
from app.models import State
from app.web.views import words

SPARK_WIDTH, SPARK_HEIGHT = 72, 20
# These say what a person wants to know of a job that does not run.
_STATES_WITH_MESSAGE = (
    State.waiting,
    State.queued,
    State.starting,
    State.paused,
    State.failed,
    State.cancelled,
)


@dataclass(frozen=True)
class Row:
    """What a list shows of a job: `note` says why it does not train, `spark` are the points of its curve."""

    job: JobSummary
    note: str
    last: float | None
    spark: str


def row(job: JobSummary, spark: Sequence[float | None]) -> Row:
    """The row of a job."""
    key = "val/accuracy_expert_0" if job.kind == "expert" else "val/accuracy_fused"
    note = ""
    if job.state in _STATES_WITH_MESSAGE:
        note = words.plain(job.message or "").partition("\n")[0]
        if not note and job.waits_for:
            note = f"waits for {words.count(len(job.waits_for), 'job')}"
    return Row(job, note, job.metrics.get(key), spark_points(spark))


def spark_points(values: Sequence[float | None]) -> str:
    """The points of a sparkline for an SVG polyline; empty if there are fewer than two values."""
    known = [(index, value) for index, value in enumerate(values) if value is not None]
    if len(known) < 2:
        return ""
    low, high = min(value for _, value in known), max(value for _, value in known)
    span = (high - low) or 1.0
    width, height = SPARK_WIDTH - 2, SPARK_HEIGHT - 4
    last = max(1, len(values) - 1)
    return " ".join(
        f"{1 + index / last * width:.1f},{2 + (1 - (value - low) / span) * height:.1f}" for index, value in known
    )
