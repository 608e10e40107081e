"""Metrics as clients see them."""

from __future__ import annotations

from pydantic import BaseModel


class Latest(BaseModel):
    """The latest step and value of a metric, and its extremes. `best_step` is where its minimum or maximum was."""

    step: int
    value: float | None
    min: float | None
    max: float | None
    best_step: int | None
    count: int


class Metrics(BaseModel):
    """The metrics of a job by key."""

    keys: list[str]
    latest: dict[str, Latest]


class SeriesView(BaseModel):
    """A metric over steps in buckets: of each its last step and value, its minimum and maximum."""

    key: str
    steps: list[int]
    values: list[float | None]
    min: list[float | None]
    max: list[float | None]


class SeriesList(BaseModel):
    """Metrics over steps, in the order of the request."""

    series: list[SeriesView]


class JobSeries(BaseModel):
    """A metric of a job over steps in buckets, with numbers of six significant digits.

    `steps`, `times` (Unix seconds) and `last` are those of the last point of each bucket, `mean`, `min` and `max` are
    of its points. Where every bucket holds one point, `counts`, `min` and `max` are null as a whole.
    """

    job: str
    key: str
    steps: list[int]
    times: list[float]
    counts: list[int] | None
    mean: list[float | None]
    last: list[float | None]
    min: list[float | None] | None
    max: list[float | None] | None


class JobSeriesList(BaseModel):
    """Metrics of several jobs, in the order of the request; metrics that a job does not have are left out."""

    series: list[JobSeries]
