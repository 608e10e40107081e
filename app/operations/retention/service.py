"""The stored retention policy."""

from __future__ import annotations

from datetime import timedelta

from sqlmodel import Session

from app.db import database_time
from app.models import Retention
from app.operations.retention import queries
from app.operations.retention.schemas import Policy, RetentionView, RunSummary

# Between two runs of the workers. Also between a change of the policy, or a time in which no worker was there, and the
# next run: whoever made a mistake, or restored an old backup, has this time to correct the policy.
INTERVAL = timedelta(hours=1)


def read_policy(session: Session) -> tuple[Policy, int]:
    """The policy and its revision; without rules before it is first set."""
    row = queries.stored(session)
    return (Policy(rules=[]), 0) if row is None else (Policy.model_validate(row.policy), row.revision)


def show(session: Session) -> RetentionView:
    """The policy with what is known of its runs."""
    row = queries.stored(session)
    known = row.model_dump() if row else {}
    shown = {name: known.get(name) for name in ("changed_at", "changed_by", "last_run_at", "next_run_at")}
    runs = [RunSummary.model_validate(run.model_dump(exclude={"id"})) for run in queries.latest_runs(session)]
    return RetentionView.model_validate({"policy": read_policy(session)[0], "runs": runs, **shown})


def change(session: Session, policy: Policy, changed_by: str) -> None:
    """Replaces the policy. Setting the same one again changes nothing, so that it does not put off the next run."""
    row = queries.stored(session, lock=True)
    if row is not None and Policy.model_validate(row.policy) == policy:
        return
    at = database_time(session)
    session.merge(
        Retention(
            policy=policy.model_dump(mode="json"),
            revision=row.revision + 1 if row else 1,
            changed_at=at,
            changed_by=changed_by,
            next_run_at=at + INTERVAL if policy.rules else None,
            last_run_at=row.last_run_at if row else None,
        )
    )


def claim_run(session: Session) -> bool:
    """Whether a run is due and this process shall do it: no other one is told so for the same hour."""
    return queries.claim_run(session, database_time(session), INTERVAL)


def is_due(session: Session) -> bool:
    """Whether a run is due, without claiming it."""
    row = queries.stored(session)
    return row is not None and row.next_run_at is not None and row.next_run_at <= database_time(session)
