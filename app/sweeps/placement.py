"""Assigns a job to every point of a sweep: an equal existing one, or a new one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session
from ulid import ULID

from app.http.errors import InvalidSpec
from app.jobs import controls, drafts, references
from app.jobs.content import DataColumns
from app.jobs.controls import ControlledJob, PlacedControl
from app.jobs.dispatch import nudge
from app.jobs.reuse import Match, find_reusable, identity
from app.models import Sweep
from app.settings import Settings
from app.sweeps import grid
from app.sweeps.errors import Grid, PointErrors, PointValues
from core.spec import FusionJob, JobSpec

# Jobs in one statement: the rows of thousands of jobs at once would take much memory.
_BATCH = 500
MAX_CONTROLLED = 500


@dataclass(frozen=True)
class PlannedPoint:
    """A point with a valid specification; `columns` belong to the row of its job.

    `data_problem` says why its data cannot be read.
    """

    values: PointValues
    spec: JobSpec
    columns: dict[str, Any]
    data_problem: str | None = None


@dataclass(frozen=True)
class PlacedPoint:
    """A point with its job, which exists already if `reused`."""

    planned: PlannedPoint
    job_id: str
    reused: bool
    references: references.References
    # Why a job of the same specification is not reused, or why none could be: its data cannot be read.
    why_not: str | None


def plan(
    settings: Settings,
    name: str,
    base: dict[str, Any],
    grid_values: Grid,
    selected: Sequence[PointValues],
    *,
    is_new: bool = True,
) -> list[PlannedPoint]:
    """Validates and resolves points without the database, so that no writer has to wait; raises InvalidSpec.

    The data of a new sweep are read, if nobody has hashed them before and they are not too large.
    """
    specs = grid.point_specs(settings, name, base, grid_values, selected)
    controlled = sum(isinstance(spec, FusionJob) and spec.controls for spec in specs)
    if controlled > MAX_CONTROLLED:
        msg = (
            f"{controlled:,} points with controls would add several jobs each; at most {MAX_CONTROLLED:,} may have "
            "them: submit the best points again with controls afterwards"
        )
        raise InvalidSpec.of([{"loc": ["base", "controls"], "msg": msg}])
    data = DataColumns(settings, for_sweep=is_new)
    return [
        PlannedPoint(values, spec, drafts.job_columns(spec) | data.of(spec), data.problem(spec))
        for values, spec in zip(selected, specs, strict=True)
    ]


def place(
    session: Session, settings: Settings, grid_values: Grid, planned: Sequence[PlannedPoint], *, fresh: bool
) -> list[PlacedPoint]:
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
    columns = [point.columns for point in planned]
    matches = [Match(None)] * len(planned) if fresh else find_reusable(session, settings, columns)
    placed = []
    new: dict[tuple[Any, ...], str] = {}
    for point, point_refs, match in zip(planned, refs, matches, strict=True):
        # ULIDs increase even within a millisecond: jobs are claimed in the order of their points.
        key = identity(point.columns)
        existing = match.job_id or new.get(key)
        job_id = existing or new.setdefault(key, f"job_{ULID()}")
        why_not = point.data_problem or match.why_not
        placed.append(PlacedPoint(point, job_id, existing is not None, point_refs, why_not))
    return placed


def insert_new_jobs(session: Session, settings: Settings, sweep: Sweep, placed: Sequence[PlacedPoint]) -> None:
    """Stores the jobs that do not exist yet and nudges the workers."""
    common = {"sweep": sweep.id, "owner": sweep.owner}
    new = [point for point in placed if not point.reused]
    for start in range(0, len(new), _BATCH):
        drafts.insert_jobs(
            session,
            [
                drafts.new_job(
                    point.planned.spec, point.references, point.planned.columns | common | {"id": point.job_id}
                )
                for point in new[start : start + _BATCH]
            ],
        )
    controls.create(session, settings, _controlled(placed, common))
    nudge(session, settings, "start")


def place_controls(
    session: Session, settings: Settings, placed: Sequence[PlacedPoint], *, stops_early: bool
) -> list[PlacedControl]:
    """The controls that `insert_new_jobs` would create or reuse for these points, which are not stored."""
    # A control may equal a point. Nothing reuses a job that early stopping may end, or one with unknown data.
    columns = {} if stops_early else {point.job_id: point.planned.columns for point in placed if not point.reused}
    pending = {identity(of_job): job_id for job_id, of_job in columns.items() if of_job["data_sha256"] is not None}
    return controls.place(session, settings, _controlled(placed, {}), pending)


def _controlled(placed: Sequence[PlacedPoint], common: dict[str, Any]) -> list[ControlledJob]:
    return [
        ControlledJob(point.job_id, point.planned.columns | common, point.planned.spec, point.references)
        for point in {point.job_id: point for point in placed}.values()
        if isinstance(point.planned.spec, FusionJob) and point.planned.spec.controls
    ]
