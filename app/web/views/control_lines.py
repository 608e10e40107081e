"""The controls of a job, as its page names and links them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from app.jobs.control_queries import ControlRow

_LABELS = {"frozen": "The same fusion, experts frozen", "matched": "One network of as many parameters"}


class ControlLine(NamedTuple):
    """A control with its job; without one, `absent` says why. `label` has all roles with the same reason."""

    label: str
    job: str | None
    name: str | None
    state: str | None
    absent: str | None


def control_lines(rows: Sequence[ControlRow]) -> list[ControlLine]:
    """Each job once, and each reason why there is none once."""
    groups: dict[str, list[ControlRow]] = {}
    for row in rows:
        groups.setdefault(row.job_id or f"absent: {row.absent}", []).append(row)
    return [
        ControlLine(
            label=", ".join(_label(row.role) for row in group),
            job=group[0].job_id,
            name=group[0].name,
            state=group[0].state,
            absent=None if group[0].job_id else group[0].absent or "the job has been deleted",
        )
        for group in groups.values()
    ]


def _label(role: str) -> str:
    if role.startswith("single_"):
        return f"One network like expert {role.removeprefix('single_')}"
    return _LABELS.get(role, role)
