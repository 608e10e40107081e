"""Jobs that wait for components of other jobs."""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import Session

from app.jobs.transitions import transition
from app.models import Reason, State
from worker import queries


def resolve_waiting_jobs(session: Session, depends_on: Sequence[str] | None = None) -> int:
    """Queues waiting jobs whose dependencies have all succeeded, and fails those of which one did not.

    Looks at the jobs that depend on `depends_on`, or at all; returns how many were moved. A failure travels on to the
    jobs that depend on the failed ones.
    """
    session.flush()
    moved = 0
    failed: list[str] = []
    for job_id, states in queries.dependency_states(session, depends_on).items():
        unsuccessful = [other for other, state in states.items() if state in (State.failed, State.cancelled)]
        if unsuccessful:
            message = f"{unsuccessful[0]}, on which this job depends, did not succeed: retry that job, then this one"
            moved += transition(session, job_id, State.failed, reason=Reason.dependency_failed, message=message)
            failed.append(job_id)
        else:
            moved += transition(session, job_id, State.queued)
    return moved + (resolve_waiting_jobs(session, failed) if failed else 0)
