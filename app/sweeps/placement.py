"""Assigns a job to every point of a sweep: an equal existing one, or a new one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session
from ulid import ULID

from app.http.errors import InvalidSpec
from app.jobs import references
from app.jobs import service as jobs
from app.jobs.dispatch import nudge
from app.models import Sweep
from app.settings import Settings
from app.sweeps import grid, queries
from app.sweeps.errors import Grid, PointErrors, PointValues
from core.spec import JobSpec

# Jobs in one statement: the rows of thousands of jobs at once would take much memory.
_BATCH = 500


@dataclass(frozen=True)
class PlannedPoint:
    """A point with a valid specification; `columns` belong to the row of its job."""

    values: PointValues
    spec: JobSpec
    columns: dict[str, Any]


@dataclass(frozen=True)
class PlacedPoint:
    """A point with its job, which exists already if `reused`."""

    planned: PlannedPoint
    job_id: str
    reused: bool
    references: references.References


def plan(
    settings: Settings, name: str, base: dict[str, Any], grid_values: Grid, selected: Sequence[PointValues]
) -> list[PlannedPoint]:
    """Validates and resolves points without the database, so that no writer has to wait; raises InvalidSpec."""
    specs = grid.point_specs(settings, name, base, grid_values, selected)
    return [
        PlannedPoint(values, spec, jobs.job_columns(spec)) for values, spec in zip(selected, specs, strict=True)
    ]  # fmt: skip


def place(session: Session, grid_values: Grid, planned: Sequence[PlannedPoint], *, fresh: bool) -> list[PlacedPoint]:
    """Finds an equal job for every point, unless `fresh`, or assigns a new id.

    Raises InvalidSpec for references to components that do not exist.
    """
    cache: references.ReferenceCache = {}
    refs: list[references.References] = []
    errors = PointErrors(grid_values)
    for point in planned:
        try:
            refs.append(references.check(session, point.spec, cache))
        except InvalidSpec as error:
            errors.add(point.values, error.errors)
    errors.raise_if_any()
    known = {} if fresh else queries.reusable_jobs(session, [point.columns["digest"] for point in planned])
    placed = []
    for point, point_refs in zip(planned, refs, strict=True):
        existing = known.get(point.columns["digest"])
        # ULIDs increase even within a millisecond: jobs are claimed in the order of their points.
        job_id = known[point.columns["digest"]] = existing or f"job_{ULID()}"
        placed.append(PlacedPoint(point, job_id, existing is not None, point_refs))
    return placed


def insert_new_jobs(session: Session, settings: Settings, sweep: Sweep, placed: Sequence[PlacedPoint]) -> None:
    """Stores the jobs that do not exist yet and nudges the workers."""
    common = {"sweep": sweep.id, "owner": sweep.owner}
    new = [point for point in placed if not point.reused]
    for start in range(0, len(new), _BATCH):
        jobs.insert_jobs(
            session,
            [
                jobs.new_job(
                    point.planned.spec, point.references, point.planned.columns | common | {"id": point.job_id}
                )
                for point in new[start : start + _BATCH]
            ],
        )
    nudge(session, settings, "start")
