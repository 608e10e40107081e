"""What users can do with sweeps. Nothing here commits: the owner of the session does."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlmodel import Session
from ulid import ULID

from app.auth.principals import Principal, require_owner
from app.http import idempotency
from app.jobs import service as jobs
from app.jobs.controls import PlacedControl
from app.jobs.dispatch import nudge
from app.jobs.estimate import estimate
from app.jobs.quotas import require_space
from app.jobs.transitions import TRANSITIONS, transition
from app.models import Job, Reason, State, Sweep
from app.settings import Settings
from app.sweeps import queries
from app.sweeps.errors import PointValues
from app.sweeps.placement import PlannedPoint, insert_new_jobs, place, place_controls, plan
from app.sweeps.schemas import NewControl, NewPoint, NewSweep, SweepDryRun

_SUBMITTED = {"name", "base", "grid", "max_parallel", "points_per_task", "early_stopping"}


def preview(session: Session, settings: Settings, new_sweep: NewSweep, planned: list[PlannedPoint]) -> SweepDryRun:
    """The sweep that a submission would create."""
    placed = place(session, settings, new_sweep.grid, planned, fresh=new_sweep.fresh)
    new = {point.job_id: point.planned.columns["spec"] for point in placed if not point.reused}
    points = [
        NewPoint(
            number=number,
            values=point.planned.values,
            name=point.planned.spec.name,
            job=None if point.job_id in new else point.job_id,
            reused=point.reused,
            why_not_reused=point.why_not,
        )
        for number, point in enumerate(placed)
    ]
    stops_early = new_sweep.early_stopping is not None
    controls = place_controls(session, settings, placed, stops_early=stops_early)
    new_controls = {one.job_id: one.columns["spec"] for one in controls if one.columns is not None and not one.reused}
    return SweepDryRun(
        count=len(placed),
        new=len(new),
        reused=len(placed) - len(new),
        points=points,
        specs=[point.planned.columns["spec"] for point in placed],
        new_controls=len(new_controls),
        reused_controls=len({one.job_id for one in controls if one.reused}),
        controls=_new_controls(controls, new.keys() | new_controls.keys()),
        estimate=estimate(
            session, [*new.values(), *new_controls.values()], points=len(new), controls=len(new_controls)
        ),
    )


def _new_controls(controls: Sequence[PlacedControl], new: Collection[str | None]) -> list[NewControl]:
    """Each control job once, with the points that share it, and each reason why there cannot be one."""
    groups: dict[object, list[PlacedControl]] = {}
    for one in controls:
        groups.setdefault(one.job_id or (one.control.role, one.control.absent), []).append(one)
    return [
        NewControl(
            roles=sorted({one.control.role for one in group}),
            name=group[0].control.spec.name if group[0].control.spec else None,
            job=None if group[0].job_id in new else group[0].job_id,
            reused=group[0].reused,
            why_not_reused=group[0].why_not,
            absent=group[0].control.absent,
            points=len({one.of.job_id for one in group}),
        )
        for group in groups.values()
    ]


def create(
    session: Session,
    settings: Settings,
    principal: Principal,
    new_sweep: NewSweep,
    planned: list[PlannedPoint],
    *,
    key: str | None = None,
    body: bytes = b"",
) -> tuple[Sweep, bool]:
    """Stores a sweep and its jobs, or finds the one that an earlier request with the same key and body created.

    Returns the sweep and whether it is new.
    """
    existing = idempotency.find_created(session, Sweep, principal.owner, key, body)
    if existing is not None:
        return existing, False
    require_space(session, principal.owner)
    sweep = Sweep(
        id=f"swp_{ULID()}",
        owner=principal.owner,
        **new_sweep.model_dump(include=_SUBMITTED),
        **idempotency.columns(key, body),
    )
    session.add(sweep)
    session.flush()
    placed = place(session, settings, new_sweep.grid, planned, fresh=new_sweep.fresh)
    insert_new_jobs(session, settings, sweep, placed)
    rows = [
        {
            "sweep_id": sweep.id,
            "number": number,
            "job_id": point.job_id,
            "point_values": point.planned.values,
            "reused": point.reused,
        }
        for number, point in enumerate(placed)
    ]
    queries.insert_points(session, rows)
    return sweep, True


def cancel(session: Session, settings: Settings, principal: Principal, sweep_id: str) -> Sweep:
    """Cancels every job that the sweep created; jobs that it reuses are left alone."""
    sweep = _changeable(session, principal, sweep_id)
    for job_id, state in queries.active_jobs(session, sweep_id):
        to = State.cancelled if State.cancelled in TRANSITIONS[state] else State.cancelling
        transition(session, job_id, to, from_state=state, reason=Reason.user)
    nudge(session, settings, "monitor")
    return sweep


def retry(session: Session, settings: Settings, principal: Principal, sweep_id: str) -> Sweep:
    """Queues failed and cancelled jobs again, except those stopped early, and replaces deleted ones.

    A reused job belongs to someone else and is not queued again: its point gets another job, a new one if need be.
    """
    sweep = _changeable(session, principal, sweep_id)
    require_space(session, sweep.owner)
    without_job: dict[int, PointValues] = {}
    to_requeue: dict[str, Job] = {}
    for point, job in queries.unsuccessful_points(session, sweep_id):
        if job is None or job.sweep != sweep_id:
            without_job[point.number] = point.point_values
        elif not queries.stopped_early(job.state, job.message):
            to_requeue[job.id] = job
    for job in to_requeue.values():
        jobs.requeue(session, job)
    points = list(without_job.values())
    # Whoever changes one of these jobs waits for this transaction.
    planned = plan(settings, sweep.name, sweep.base, sweep.grid, points, is_new=False)
    placed = place(session, settings, sweep.grid, planned, fresh=False)
    insert_new_jobs(session, settings, sweep, placed)
    for number, placed_point in zip(without_job, placed, strict=True):
        queries.set_point_job(session, sweep_id, number, job_id=placed_point.job_id, reused=placed_point.reused)
    return sweep


def _changeable(session: Session, principal: Principal, sweep_id: str) -> Sweep:
    """A sweep whose jobs keep their states until the commit; raises NotFound, or Forbidden for one of another owner."""
    sweep = queries.get_sweep(session, sweep_id)
    queries.lock_sweep(session, sweep_id)
    require_owner(principal, sweep.owner)
    return sweep
