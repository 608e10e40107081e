"""Applies the retention policy: each deletion is a transaction of its own, which checks again that the rule holds.

Several processes may do this at once, and any of them may be killed: no job is deleted by half, and what remains is
deleted by the next run.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlmodel import Session
from ulid import ULID

from app.db import database_time, reading, transaction
from app.http.errors import Conflict
from app.jobs import deletion
from app.models import RetentionRun
from app.operations.retention import queries
from app.operations.retention.plan import Deletion, plan
from app.operations.retention.schemas import DeletionView, Policy, RunReport
from app.operations.retention.service import read_policy
from app.settings import Settings

log = logging.getLogger(__name__)
# What PostgreSQL says when a statement reaches a limit of `app/db/postgres.py`.
_LIMITS = ("lock timeout", "statement timeout")
# What a report lists.
MAX_ITEMS = 200


class _Report:
    """Counts what a run deletes."""

    def __init__(self, *, dry_run: bool) -> None:
        self._dry_run = dry_run
        self.counts = {"job": 0, "checkpoints": 0}
        self.bytes_freed = 0
        self.items: list[DeletionView] = []
        self.complete = True

    def add(self, one: Deletion, size: int | None) -> None:
        """Counts a deletion; `size` is None if it was not measured."""
        self.counts[one.what] += 1
        self.bytes_freed += size or 0
        if len(self.items) < MAX_ITEMS:
            job_id, name, owner, _ = one.match
            view = DeletionView(
                job=job_id, name=name, owner=owner, rule=one.rule.name, what=one.what, bytes_freed=size
            )  # fmt: skip
            self.items.append(view)

    def result(self) -> RunReport:
        """What was counted."""
        return RunReport(
            dry_run=self._dry_run,
            complete=self.complete,
            jobs=self.counts["job"],
            checkpoints=self.counts["checkpoints"],
            bytes_freed=self.bytes_freed,
            items=self.items,
        )


def preview(engine: Engine, settings: Settings, *, limit_s: float) -> RunReport:
    """What a run would delete now; bytes are measured until the time is over."""
    with reading(engine) as session:
        policy, _ = read_policy(session)
        planned = plan(session, policy, database_time(session))
    deadline = time.monotonic() + limit_s
    report = _Report(dry_run=True)
    for one in planned:
        size = _size(settings, one) if time.monotonic() < deadline else None
        report.complete = size is not None
        report.add(one, size)
    return report.result()


def run(
    engine: Engine, settings: Settings, started_by: str, *, go_on: Callable[[], bool] = lambda: True
) -> RunReport:  # fmt: skip
    """Deletes what the policy says, until there is nothing left, `go_on` returns False, or the policy is changed."""
    with reading(engine) as session:
        policy, revision = read_policy(session)
        at = database_time(session)
        planned = plan(session, policy, at)
    report = _Report(dry_run=False)
    row = RetentionRun(id=f"ret_{ULID()}", started_at=at, started_by=started_by)
    for one in planned:
        if not go_on():
            report.complete = False
            break
        size = _size(settings, one)
        try:
            with transaction(engine) as session:
                if read_policy(session)[1] != revision:
                    log.warning("the retention policy was changed: its run ends")
                    report.complete = False
                    break
                deleted = _delete(session, settings, policy, at, one, size)
                if deleted:
                    jobs = int(one.what == "job")
                    queries.add_to_run(session, row, jobs=jobs, checkpoints=1 - jobs, size=size)
        except (Conflict, IntegrityError, OperationalError) as error:
            # A job that needs it is being submitted at this moment, or the database takes too long for this one.
            if isinstance(error, OperationalError) and not any(limit in str(error.orig) for limit in _LIMITS):
                raise
            log.warning("retention has to leave %s for later: %s", one.match.job_id, error)
            continue
        if deleted:
            whole = f"the {one.what} of {one.match.job_id}" if one.what == "checkpoints" else one.match.job_id
            fields = {"job_id": one.match.job_id, "rule": one.rule.name, "bytes_freed": size}
            log.warning("retention deleted %s, by the rule %r", whole, one.rule.name, extra=fields)
            report.add(one, size)
    return report.result()


def _delete(session: Session, settings: Settings, policy: Policy, at: datetime, one: Deletion, size_bytes: int) -> bool:
    """Deletes it, unless the rule does not hold any more or somebody is changing the job: then a later run decides."""
    job = queries.lock_if_matching(session, one.rule, policy.protected_tags, at, one.match)
    if job is None:
        return False
    if one.what == "job":
        deletion.delete_job(session, settings, job)
    else:
        deletion.delete_checkpoints(session, settings, job, size_bytes)
    return True


def _size(settings: Settings, one: Deletion) -> int:
    measure = deletion.size_of_job if one.what == "job" else deletion.size_of_checkpoints
    return measure(settings, one.match.job_id)
