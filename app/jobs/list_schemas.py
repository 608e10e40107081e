"""Lists of jobs as the API shows them."""

from __future__ import annotations

from pydantic import BaseModel

from app.jobs.schemas import JobSummary
from app.models import State


class JobSummaryPage(BaseModel):
    """A page of jobs without `spec`, `defaulted` and `plan`."""

    items: list[JobSummary]
    next_cursor: str | None


class JobCounts(BaseModel):
    """The number of jobs by state; one that equals `limit` means at least as many."""

    counts: dict[State, int]
    limit: int
