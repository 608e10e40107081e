"""What users can do with jobs. Nothing here commits: the owner of the session does."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session

from app.auth.principals import Principal, require_owner
from app.http import idempotency
from app.http.errors import Conflict, InvalidSpec
from app.jobs import controls, deletion, queries, references
from app.jobs.changes import with_resources
from app.jobs.content import DataColumns
from app.jobs.controls import ControlledJob
from app.jobs.dispatch import nudge
from app.jobs.drafts import insert_jobs, job_columns, new_job, resolved_columns
from app.jobs.estimate import estimate
from app.jobs.planned_configs import configs_of
from app.jobs.quotas import require_space
from app.jobs.schemas import DryRun, JobView, PlannedControl, Related, job_view
from app.jobs.transitions import TRANSITIONS, transition
from app.models import Job, Reason, State
from app.settings import Settings
from core.spec import FusionJob, JobSpec, SpecError, parse_stored
from core.spec.outline import outline


def preview(session: Session, settings: Settings, spec: JobSpec) -> DryRun:
    """The job that a submission would create. Data that are too large to read at once are not compared."""
    refs = references.check(session, spec)
    resolved = resolved_columns(spec)
    has_controls = isinstance(spec, FusionJob) and spec.controls
    data_sha256 = DataColumns(settings).of(spec)["data_sha256"] if has_controls else None
    planned = controls.plan_controls(settings, spec, refs, data_sha256)
    new = [resolved_columns(one.spec)["spec"] for one in planned if one.spec is not None]
    return DryRun(
        kind=spec.kind,
        name=spec.name,
        **resolved,
        waits_for=list(refs.unfinished),
        outline=outline(spec, configs_of(spec, refs)),
        estimate=estimate(session, [resolved["spec"], *new], controls=len(new)),
        controls=[
            PlannedControl(role=one.role, name=one.spec.name if one.spec else None, absent=one.absent)
            for one in planned
        ],
    )


def submit(
    session: Session,
    settings: Settings,
    principal: Principal,
    spec: JobSpec,
    *,
    key: str | None = None,
    body: bytes = b"",
    columns: dict[str, Any] | None = None,
) -> tuple[JobView, bool]:
    """Stores a job, or finds the one that an earlier request with the same idempotency key and body created.

    `columns` are those of its data (`app.jobs.content`). Returns the job and whether it is new.
    """
    existing = idempotency.find_created(session, Job, principal.owner, key, body)
    if existing is not None:
        return queries.views(session, [existing])[0], False
    require_space(session, principal.owner)
    refs = references.check(session, spec)
    columns = job_columns(spec) | (columns or {}) | {"owner": principal.owner} | idempotency.columns(key, body)
    draft = new_job(spec, refs, columns)
    insert_jobs(session, [draft])
    if isinstance(spec, FusionJob) and spec.controls:
        controls.create(session, settings, [ControlledJob(draft.job.id, columns, spec, refs)])
    if draft.job.state == State.queued:
        nudge(session, settings, "start")
    return job_view(draft.job, Related(draft.tags, sorted(refs.unfinished), {})), True


def cancel(session: Session, settings: Settings, principal: Principal, job_id: str) -> Job:
    """Cancels a job; if it is running, its process is stopped first."""
    return _move(session, settings, principal, job_id, "be cancelled", (State.cancelled, State.cancelling))


def pause(session: Session, settings: Settings, principal: Principal, job_id: str) -> Job:
    """Makes a job write a checkpoint and free its device."""
    return _move(session, settings, principal, job_id, "be paused", (State.pausing,))


def _move(
    session: Session,
    settings: Settings,
    principal: Principal,
    job_id: str,
    verb: str,
    targets: tuple[State, ...],
) -> Job:
    job = _changeable(session, principal, job_id)
    before = State(job.state)
    # Not from one of the targets to the next: a job is cancelled when its process has ended, not when asked twice.
    sources = [state for state in State if state not in targets and set(targets) & set(TRANSITIONS[state])]
    for to in targets if before in sources else ():
        if to in TRANSITIONS[before] and transition(session, job_id, to, from_state=before, reason=Reason.user):
            nudge(session, settings, "monitor")
            session.refresh(job)
            return job
    raise _refused(job, verb, f"only {_join_with_or([state.value for state in sources])} jobs can")


def _join_with_or(words: list[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def resume(
    session: Session,
    settings: Settings,
    principal: Principal,
    job_id: str,
    resources: dict[str, Any] | None = None,
) -> Job:
    """Queues a paused job again, which resumes from its checkpoint, with some resources changed if given.

    The resources of a queued job can be changed as well.
    """
    job = _changeable(session, principal, job_id)
    changes = with_resources(session, settings, job, resources) if resources else {}
    if job.state == State.queued and changes:
        done = queries.update_queued(session, job, changes)
    else:
        guard: Any = {"from_state": State.paused, "expected_attempt": job.attempt}
        done = transition(session, job_id, State.queued, **guard, reason=Reason.user, **changes)
    if not done:
        raise _refused(job, "be resumed", "only paused jobs can, and queued ones if resources are given")
    nudge(session, settings, "start")
    session.refresh(job)
    return job


def retry(
    session: Session,
    settings: Settings,
    principal: Principal,
    job_id: str,
    resources: dict[str, Any] | None = None,
) -> Job:
    """Queues a failed or cancelled job again, which resumes from its latest checkpoint if it has one."""
    job = _changeable(session, principal, job_id)
    require_space(session, job.owner)
    changes = with_resources(session, settings, job, resources) if resources else {}
    if not requeue(session, job, changes):
        raise _refused(job, "be retried", "only failed or cancelled jobs can")
    nudge(session, settings, "start")
    session.refresh(job)
    return job


def requeue(session: Session, job: Job, changes: dict[str, Any] | None = None) -> bool:
    """Queues a failed or cancelled job again, with some columns changed; returns False if it is neither.

    Raises Conflict if a job that it depends on did not succeed or no longer exists.
    """
    if job.state not in (State.failed, State.cancelled):
        return False
    changes = changes or {}
    states = queries.dependency_states(session, job.id)
    dead = [other for other, state in states.items() if state in (State.failed, State.cancelled)]
    if dead:
        raise Conflict(f"{job.id} depends on {', '.join(dead)}, which did not succeed: retry that first")
    try:
        # A job that it depends on may have been deleted, together with its components.
        references.check(session, parse_stored(changes.get("spec", job.spec)))
    except (InvalidSpec, SpecError) as error:
        raise Conflict(f"{job.id} cannot be retried as it is: {error}") from None
    waits = any(state is not State.succeeded for state in states.values())
    to = State.waiting if waits else State.queued
    guard: Any = {"from_state": State(job.state), "expected_attempt": job.attempt}
    return transition(session, job.id, to, **guard, failures=0, **changes)


def _changeable(session: Session, principal: Principal, job_id: str) -> Job:
    """A job whose state does not change until the commit; raises NotFound, or Forbidden for another owner's job."""
    job = queries.get_locked_job(session, job_id)
    require_owner(principal, job.owner)
    return job


def _refused(job: Job, verb: str, hint: str) -> Conflict:
    return Conflict(f"{job.id} is {State(job.state).value}, so it cannot {verb}: {hint}")


def delete(session: Session, settings: Settings, principal: Principal, job_id: str) -> int:
    """Deletes a job that has ended, with all its files; returns the number of bytes freed."""
    job = _changeable(session, principal, job_id)
    deletion.delete_job(session, settings, job)
    return deletion.size_of_job(settings, job_id)
