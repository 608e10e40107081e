"""Lists of jobs as the API shows them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from app.http.errors import Invalid
from app.jobs.schemas import JobSummary, JobView
from app.models import State


class JobSummaryPage(BaseModel):
    """A page of jobs without `spec`, `defaulted` and `plan`."""

    items: list[JobSummary]
    next_cursor: str | None


class JobFieldsPage(BaseModel):
    """A page of jobs with some of their fields."""

    items: list[dict[str, Any]]
    next_cursor: str | None


# In place of the names of all fields except `spec`, `defaulted` and `plan`.
SUMMARY = "summary"


def parse_fields(text: str) -> list[str]:
    """The fields of a job that a comma-separated list names, in the order of the fields of a job; raises Invalid."""
    named = {name.strip() for name in text.split(",")}
    allowed = [*JobView.model_fields, SUMMARY]
    if unknown := sorted(named - set(allowed)):
        raise Invalid(
            f"fields: a job has no field {', '.join(repr(name[:40]) for name in unknown[:5])}: "
            f"give names separated by commas, of {', '.join(allowed)}"
        )
    summary = JobSummary.model_fields if SUMMARY in named else ()
    return [name for name in JobView.model_fields if name in named or name in summary]


class JobCounts(BaseModel):
    """The number of jobs by state; one that equals `limit` means at least as many."""

    counts: dict[State, int]
    limit: int
