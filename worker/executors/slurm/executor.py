"""Attempts as Slurm jobs: submitted under a unique name, found by it, ended when Slurm or the run directory says so.

Slurm may forget a job, not answer, answer late, or run a job twice. Only the run directory is certain: which process
claimed the attempt, and how it ended.
"""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Self

from sqlmodel import Session

from app.db import now
from app.models import Reason, State
from app.settings import Settings
from core.run.lock import InUseError, run_lock
from core.run.protocol import Claim, Outcome
from core.run.rundir import AttemptDir
from worker import queries
from worker.executors.base import Batch, BusyError, Observation, ProcessState, Submission, TrackedAttempt
from worker.executors.slurm import batching, queue_commands, submission
from worker.executors.slurm.cluster import Cluster, find_cluster
from worker.executors.slurm.handle import SignalQueue, SlurmHandle
from worker.executors.slurm.pending_reasons import explain
from worker.executors.slurm.queue_commands import Row, UnreachableError
from worker.queries import AttemptKey

log = logging.getLogger(__name__)
# How long Slurm may know nothing of an attempt before it counts as lost: twice what sbatch waits for an answer.
FORGOTTEN_S = 20.0
# How long squeue may miss one task of an array whose other tasks it lists before the task counts as cancelled.
SETTLED_S = 2.0
# How long the last files of a process may take through a shared file system.
LATE_FILES_S = 15.0
# How long after its start the controller may still be cleaning up.
RESTART_AFTERMATH = timedelta(minutes=5)
# How long to wait before submitting again after Slurm has accepted no more jobs.
BUSY_S = 30.0

_JOB_NAME = re.compile(r"job_[0-9A-Z]{26}-a\d+|swp_[0-9A-Z]{26}\.[0-9A-Z]{26}")
_REASONS = {
    "PREEMPTED": Reason.preempted,
    "TIMEOUT": Reason.time_limit,
    "DEADLINE": Reason.time_limit,
    "NODE_FAIL": Reason.node_failure,
    "BOOT_FAIL": Reason.node_failure,
    "LAUNCH_FAILED": Reason.node_failure,
    "RECONFIG_FAIL": Reason.node_failure,
    "OUT_OF_MEMORY": Reason.out_of_memory,
}

_Name = tuple[str, int | None]


class SlurmExecutor:
    """Runs each attempt as a Slurm job, and many attempts of a sweep as one array."""

    is_local = False
    cancel_grace_s = 20.0
    time_limit_signal = "SIGUSR2"
    # Slurm sends its signal up to a minute before it is due.
    time_limit_tolerance_s = 65.0

    def __init__(self, settings: Settings, host: str, cluster: Cluster) -> None:
        self.cluster = cluster
        self._settings = settings
        self._host = host
        self._busy_until = float("-inf")
        # When an attempt was first missing from Slurm, or first seen as ended.
        self._missing_since: dict[AttemptKey, float] = {}
        self._ended_since: dict[AttemptKey, float] = {}
        self._signals = SignalQueue()
        self._rows: list[Row] = []
        self._booted_at = cache(queue_commands.booted_at)

    @classmethod
    def find(cls, settings: Settings, host: str) -> Self | None:
        """The executor for this machine; None if Slurm's commands are not installed."""
        cluster = find_cluster()
        return None if cluster is None else cls(settings, host, cluster)

    def status(self) -> dict[str, Any] | None:
        self.cluster.refresh()
        return self.cluster.to_json()

    def is_responsible(self, session: Session) -> bool:
        """The first by name of the workers that are alive and reach Slurm follows all attempts there."""
        hosts = queries.slurm_hosts(session)
        return not hosts or self._host == min(hosts)

    def next_batch(self, session: Session) -> Batch | None:
        if not self.cluster.known or time.monotonic() < self._busy_until:
            return None
        return batching.next_batch(session, self._settings, self.cluster)

    def submit(self, to_submit: Submission, attempts: Sequence[AttemptDir]) -> Sequence[SlurmHandle | None]:
        assert to_submit.job_name is not None
        try:
            first = submission.sbatch(to_submit, attempts, self._settings.slurm_dir / to_submit.job_name)
        except submission.InDoubtError as error:
            log.warning("it is not known whether Slurm accepted %s: %s", to_submit.job_name, error)
            return [None] * len(attempts)
        except BusyError:
            self._busy_until = time.monotonic() + BUSY_S
            raise
        ids = submission.slurm_ids(first, len(attempts), to_submit.attempts_per_task)
        return [SlurmHandle(slurm_id, self._signals) for slurm_id in ids]

    def poll(self, attempts: Sequence[TrackedAttempt]) -> dict[AttemptKey, Observation]:
        self._rows = []
        # At most one call in a poll, however many jobs were cancelled.
        self._booted_at = cache(queue_commands.booted_at)
        try:
            queued = self._rows = queue_commands.queue()
        except UnreachableError as error:
            log.warning("Slurm is not responding; no job has changed state: %s", error)
            return {tracked.key: Observation(ProcessState.unknown) for tracked in attempts}
        in_queue = _by_name(queued)
        missing = [tracked for tracked in attempts if _name(tracked) not in in_queue]
        in_accounts = _by_name(self._accounts(missing)) if missing else {}
        arrays = {name for name, index in (*in_queue, *in_accounts) if index is not None}
        task_sizes = Counter(_name(tracked) for tracked in attempts)
        observed = {}
        for tracked in attempts:
            name = _name(tracked)
            rows = in_queue.get(name) or in_accounts.get(name, [])
            is_shared = task_sizes[name] > 1
            observed[tracked.key] = (
                self._observe(tracked, rows, is_shared=is_shared)
                if rows
                else self._observe_missing(tracked, array_is_known=name[0] in arrays)
            )
        for times in (self._missing_since, self._ended_since):
            for key in times.keys() - observed.keys():
                del times[key]
        return observed

    def _accounts(self, missing: Sequence[TrackedAttempt]) -> Iterable[Row]:
        any_without_id = any(tracked.attempt.handle is None for tracked in missing)
        since: datetime | None = min(tracked.attempt.started_at for tracked in missing) if any_without_id else None
        ids = [tracked.attempt.handle["slurm"] for tracked in missing if tracked.attempt.handle is not None]
        # Jobs that the controller does not know may be pending for ever in the accounting database.
        return [row for row in queue_commands.accounts(ids, since) or [] if row.state in queue_commands.TERMINAL]

    def _observe(self, tracked: TrackedAttempt, rows: list[Row], *, is_shared: bool) -> Observation:
        self._missing_since.pop(tracked.key, None)
        row = self._choose(tracked, rows)
        for duplicate in rows:
            # A submission in doubt was repeated; the claim keeps the attempt from running twice.
            if duplicate is not row and duplicate.state not in queue_commands.TERMINAL:
                self._signals.cancel(duplicate.id)
        is_pending = row.state in queue_commands.PENDING
        handle = SlurmHandle(row.id, self._signals, is_pending, tracked.dir if is_shared else None)
        if is_shared and row.state not in queue_commands.TERMINAL:
            shared = self._observe_shared(tracked, row, handle)
            if shared is not None:
                return shared
        if row.state in queue_commands.RUNNING:
            message, is_suspended = _running_message(tracked, row), row.state in queue_commands.SUSPENDED
            return Observation(ProcessState.alive, handle, row.nodes or None, message, is_suspended=is_suspended)
        if is_pending:
            return Observation(ProcessState.pending, handle, message=explain(row.reason))
        if row.state not in queue_commands.TERMINAL:
            log.warning("Slurm job %s is in state %r, which this version does not know", row.id, row.state)
            return Observation(ProcessState.unknown, handle)
        return self._observe_ended(tracked, row, handle)

    def _observe_shared(self, tracked: TrackedAttempt, row: Row, handle: SlurmHandle) -> Observation | None:
        """An attempt in a Slurm task that runs several: it may have ended before, or not have started yet."""
        claim = Claim.read(tracked.dir)
        if Outcome.read(tracked.dir) is not None or (claim is not None and claim.pid == 0):
            return Observation(ProcessState.ended, handle, row.nodes or None)
        if claim is None and row.state in queue_commands.RUNNING:
            message = "waiting for the point before it in the same Slurm task"
            return Observation(ProcessState.pending, handle, message=message)
        return None

    def _choose(self, tracked: TrackedAttempt, rows: list[Row]) -> Row:
        """Of several Slurm jobs with one name, the one that has claimed the attempt, or else will."""
        if len(rows) == 1:
            return rows[0]
        claim = Claim.read(tracked.dir)
        claimed = [row for row in rows if claim is not None and row.id == claim.slurm_job_id]
        return (claimed or sorted(rows, key=lambda row: (row.state in queue_commands.TERMINAL, row.sort_key)))[0]

    def _observe_ended(self, tracked: TrackedAttempt, row: Row, handle: SlurmHandle) -> Observation:
        since = self._ended_since.setdefault(tracked.key, time.monotonic())
        has_outcome = Outcome.read(tracked.dir) is not None
        if not has_outcome and _may_report(tracked, row) and time.monotonic() - since < LATE_FILES_S:
            return Observation(ProcessState.unknown, handle)
        self._ended_since.pop(tracked.key, None)
        host, message = row.nodes or None, None
        if Claim.read(tracked.dir) is None:
            # If Slurm starts this job after all, it finds the attempt claimed.
            Claim.abandoned().try_claim(tracked.dir)
            if self._task_has_run(tracked):
                message = "its Slurm task ended before its turn"
                return Observation(ProcessState.ended, handle, host, message, lost_by_executor=True)
            message = submission.output_of(self._submission_folder(tracked), row.id)
        if row.state == "CANCELLED":
            return self._observe_cancelled(tracked, handle, host, message)
        return Observation(ProcessState.ended, handle, host, message, _REASONS.get(row.state))

    def _task_has_run(self, tracked: TrackedAttempt) -> bool:
        """Whether the Slurm task of an attempt that never started has run other attempts before it."""
        return submission.ran_before(self._submission_folder(tracked), tracked.dir, tracked.attempt.array_index)

    def _submission_folder(self, tracked: TrackedAttempt) -> Path:
        return self._settings.slurm_dir / (tracked.attempt.slurm_job_name or "")

    def _observe_cancelled(
        self, tracked: TrackedAttempt, handle: SlurmHandle | None, host: str | None, message: str | None
    ) -> Observation:
        if self._controller_restarted_since(tracked):
            # A controller that comes back without having saved a job cancels what its nodes still run of it.
            message = "Slurm was restarted and ended it"
            return Observation(ProcessState.ended, handle, host, message, lost_by_executor=True)
        return Observation(ProcessState.ended, handle, host, message, cancelled=True)

    def _controller_restarted_since(self, tracked: TrackedAttempt) -> bool:
        """Whether the controller was restarted after the attempt started, and not long ago."""
        booted = self._booted_at()
        # Slurm gives whole seconds: the restart may have come later in the second in which the attempt started.
        started = tracked.attempt.started_at.replace(microsecond=0)
        return booted is not None and booted >= started and now() - booted < RESTART_AFTERMATH

    def _observe_missing(self, tracked: TrackedAttempt, *, array_is_known: bool) -> Observation:
        """Neither the queue nor the accounting database has it. One empty answer does not mean that it has ended."""
        since = self._missing_since.setdefault(tracked.key, time.monotonic())
        missing_s = time.monotonic() - since
        if array_is_known and missing_s >= SETTLED_S and Claim.abandoned().try_claim(tracked.dir):
            # Slurm keeps no record of an array task that was cancelled before it started.
            self._missing_since.pop(tracked.key, None)
            handle = tracked.attempt.handle
            return self._observe_cancelled(
                tracked, SlurmHandle(handle["slurm"], self._signals) if handle else None, None, None
            )
        has_outcome = Outcome.read(tracked.dir) is not None
        is_young = (now() - tracked.attempt.started_at).total_seconds() < FORGOTTEN_S
        if not has_outcome and (is_young or missing_s < FORGOTTEN_S):
            return Observation(ProcessState.unknown)
        if not has_outcome and not Claim.abandoned().try_claim(tracked.dir):
            # A process has claimed it, and holds the run directory for as long as it lives, whatever Slurm knows.
            try:
                with run_lock(tracked.dir.run.path):
                    pass
            except InUseError:
                return Observation(ProcessState.unknown)
        self._missing_since.pop(tracked.key, None)
        return Observation(ProcessState.ended, message="Slurm no longer knows it", lost_by_executor=True)

    def strays(self, attempts: Sequence[TrackedAttempt]) -> Collection[_Name]:
        names = {_name(tracked) for tracked in attempts}
        active = [row for row in self._rows if row.state in queue_commands.PENDING | queue_commands.RUNNING]
        return {(row.name, row.index) for row in active if _JOB_NAME.fullmatch(row.name)} - names

    def cancel_stray(self, name: str, index: int | None) -> None:
        for row in self._rows:
            if (row.name, row.index) == (name, index):
                self._signals.cancel(row.id)

    def kill_leftover(self, tracked: TrackedAttempt) -> None:
        raise AssertionError("what runs in Slurm for an attempt that has ended is a stray")

    def flush(self) -> None:
        self._signals.flush()

    def close(self) -> None:
        pass


def _name(tracked: TrackedAttempt) -> _Name:
    return tracked.attempt.slurm_job_name or "", tracked.attempt.array_index


def _by_name(rows: Iterable[Row]) -> dict[_Name, list[Row]]:
    by_name: dict[_Name, list[Row]] = {}
    for row in rows:
        by_name.setdefault((row.name, row.index), []).append(row)
    return by_name


def _running_message(tracked: TrackedAttempt, row: Row) -> str | None:
    if row.state in queue_commands.SUSPENDED:
        return f"suspended in Slurm: `scontrol resume {row.id}` lets it continue"
    return f"starting on {row.nodes}" if tracked.job_state is State.starting and row.nodes else None


def _may_report(tracked: TrackedAttempt, row: Row) -> bool:
    """Whether the outcome may still be on its way: the process had started, and ended by itself."""
    return row.state in ("COMPLETED", "FAILED") and Claim.read(tracked.dir) is not None
