"""From points to jobs: checked, recognised, stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session, col, select
from ulid import ULID

from app.http.errors import InvalidSpec
from app.jobs import references
from app.jobs import service as jobs
from app.jobs.dispatch import nudge
from app.models import Job, State, Sweep
from app.settings import Settings
from app.sweeps import grid
from core.spec import JobSpec

# Rows and digests in one statement.
_BLOCK = 500


@dataclass(frozen=True)
class Planned:
    """A point whose specification was checked; `columns` are of the job's row."""

    given: grid.Given
    spec: JobSpec
    columns: dict[str, Any]


@dataclass(frozen=True)
class Placed:
    """A point with its job: one that is there already if `reused`, else one that `needs` something."""

    planned: Planned
    job_id: str
    reused: bool
    needs: references.References


def plan(
    settings: Settings, name: str, base: dict[str, Any], its: grid.Grid, wanted: list[grid.Given]
) -> list[Planned]:
    """Checks and resolves points; raises InvalidSpec. Needs no database: nobody waits for it."""
    specs = grid.specs(settings, name, base, its, wanted)
    return [Planned(given, spec, jobs.columns(spec)) for given, spec in zip(wanted, specs, strict=True)]


def place(session: Session, its: grid.Grid, planned: Sequence[Planned], *, fresh: bool) -> list[Placed]:
    """Finds the job of every point, or an id for a new one; raises InvalidSpec for components that are not there."""
    looked_up: references.LookedUp = {}
    needs: list[references.References] = []
    mistakes = grid.Mistakes(its)
    for point in planned:
        try:
            needs.append(references.check(session, point.spec, looked_up))
        except InvalidSpec as error:
            mistakes.add(point.given, error.errors)
    mistakes.raise_if_any()
    known = {} if fresh else _reusable(session, [point.columns["digest"] for point in planned])
    placed = []
    for point, needed in zip(planned, needs, strict=True):
        same = known.get(point.columns["digest"])
        # These ids rise even within a millisecond: jobs are claimed in the order of their points.
        job_id = known[point.columns["digest"]] = same or f"job_{ULID()}"
        placed.append(Placed(point, job_id, same is not None, needed))
    return placed


def _reusable(session: Session, digests: Sequence[str]) -> dict[str, str]:
    """Jobs by digest that have succeeded or still may: not those that an early stop of their sweep may end."""
    over = (State.failed, State.cancelled, State.cancelling)
    may = (col(Job.state) == State.succeeded) | col(Sweep.early_stopping).is_(None)
    found: dict[str, tuple[bool, str]] = {}
    for start in range(0, len(digests), _BLOCK):
        query = select(Job.digest, Job.state, Job.id).outerjoin(Sweep, col(Sweep.id) == col(Job.sweep))
        query = query.where(col(Job.digest).in_(digests[start : start + _BLOCK]), col(Job.state).not_in(over), may)
        for digest, state, job_id in session.exec(query):
            # One that has succeeded before one that has not, and then the oldest.
            rank = (state != State.succeeded, job_id)
            found[str(digest)] = min(found.get(str(digest), rank), rank)
    return {digest: job_id for digest, (_, job_id) in found.items()}


def store_jobs(session: Session, settings: Settings, sweep: Sweep, placed: Sequence[Placed]) -> None:
    """Stores the new ones among the jobs, block by block: rows of all at once would take much memory."""
    its = {"sweep": sweep.id, "owner": sweep.owner}
    new = [point for point in placed if not point.reused]
    for start in range(0, len(new), _BLOCK):
        jobs.store(
            session,
            [
                jobs.draft(point.planned.spec, point.needs, point.planned.columns | its | {"id": point.job_id})
                for point in new[start : start + _BLOCK]
            ],
        )
    nudge(session, settings, "start")
