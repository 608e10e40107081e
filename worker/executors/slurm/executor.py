"""Attempts as Slurm jobs: submitted under a slurm_job_name, found by it, ended when Slurm or the run directory says so.

Slurm may forget a job, not answer, answer late, or run one twice. What is certain is only what the run directory holds:
which process took the attempt, and how it ended.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

from app.db import now
from app.models import Reason, State
from core.run.lock import InUseError, run_lock
from core.run.rundir import read
from worker.executors.base import Handle, Key, Observation, ProcessState, Submission, TrackedAttempt
from worker.executors.slurm import commands, submission
from worker.executors.slurm import pending_reasons as words
from worker.executors.slurm.commands import Row, UnreachableError

log = logging.getLogger(__name__)
# How long Slurm may know nothing of an attempt before it is taken to be lost: twice what sbatch waits for an answer.
FORGOTTEN_S = 20.0
# How long squeue may lack a task of an array whose others it has before it is taken to be cancelled.
SETTLED_S = 2.0
# How long the last files of a process may be on their way through a shared file system.
LATE_FILES_S = 15.0
# How long after its start the controller may still be cleaning up.
RESTART_AFTERMATH = timedelta(minutes=5)

_STAMP = re.compile(r"job_[0-9A-Z]{26}-a\d+|swp_[0-9A-Z]{26}\.[0-9A-Z]{26}")
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


class SlurmExecutor:
    """One Slurm job an attempt; many attempts of a sweep are one array. `folder` is for scripts and Slurm's output."""

    cancel_grace_s = 20.0

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._missing: dict[Key, float] = {}
        self._ended: dict[Key, float] = {}
        self._to_cancel: dict[str | None, list[str]] = {}
        self._rows: list[Row] = []
        self._booted_at = cache(commands.booted_at)

    def submit(self, order: Submission) -> Sequence[Handle | None]:
        try:
            first = submission.sbatch(order, self._folder / order.slurm_job_name)
        except submission.InDoubtError as error:
            log.warning("Slurm was asked for %s and did not answer as it should: %s", order.slurm_job_name, error)
            return [None] * len(order.runs)
        return [{"slurm": slurm_id} for slurm_id in submission.ids(first, order)]

    def poll(self, attempts: Sequence[TrackedAttempt]) -> dict[Key, Observation]:
        self._rows = []
        # Asked at most once a look, however many have been cancelled.
        self._booted_at = cache(commands.booted_at)
        try:
            rows = self._rows = commands.queue()
        except UnreachableError as error:
            log.warning("Slurm does not answer; nothing is concluded from that: %s", error)
            return {watched.key: Observation(ProcessState.unknown) for watched in attempts}
        known = _by_stamp(rows)
        lacking = [watched for watched in attempts if _name(watched) not in known]
        remembered = _by_stamp(self._accounts(lacking)) if lacking else {}
        arrays = {slurm_job_name for slurm_job_name, index in (*known, *remembered) if index is not None}
        return {
            watched.key: self._judge(
                watched,
                known.get(_name(watched), []),
                remembered.get(_name(watched), []),
                of_known_array=_name(watched)[0] in arrays,
            )
            for watched in attempts
        }

    def _accounts(self, lacking: Sequence[TrackedAttempt]) -> Iterable[Row]:
        unnamed = any(watched.attempt.handle is None for watched in lacking)
        since: datetime | None = min(watched.attempt.started_at for watched in lacking) if unnamed else None
        ids = [watched.attempt.handle["slurm"] for watched in lacking if watched.attempt.handle is not None]
        # What the controller does not know, the accounting may take to be pending for ever.
        return [row for row in commands.accounts(ids, since) or [] if row.state in commands.TERMINAL]

    def _judge(
        self, watched: TrackedAttempt, rows: list[Row], remembered: list[Row], *, of_known_array: bool
    ) -> Observation:
        if not rows and not remembered:
            return self._unseen(watched, of_known_array=of_known_array)
        self._missing.pop(watched.key, None)
        rows = rows or remembered
        row = self._chosen(watched, rows)
        for extra in rows:
            # Submitted twice, for all the care that was taken; the claim has kept it from running twice.
            if extra is not row and extra.state not in commands.TERMINAL:
                self._cancel(extra.id)
        handle = {"slurm": row.id}
        if row.state in commands.RUNNING:
            return Observation(ProcessState.alive, handle, row.nodes or None, says=_says(watched, row))
        if row.state in commands.PENDING:
            return Observation(ProcessState.pending, handle, says=words.explain(row.reason))
        if row.state not in commands.TERMINAL:
            log.warning("Slurm calls job %s %r, which is not known here", row.id, row.state)
            return Observation(ProcessState.unknown, handle)
        return self._over(watched, row, handle)

    def _chosen(self, watched: TrackedAttempt, rows: list[Row]) -> Row:
        """The one of several that has the attempt, or else will have it."""
        if len(rows) == 1:
            return rows[0]
        claim = read(watched.run.claim)
        took = [row for row in rows if claim is not None and row.id == claim.get("slurm_job_id")]
        return (took or sorted(rows, key=lambda row: (row.state in commands.TERMINAL, row.order)))[0]

    def _over(self, watched: TrackedAttempt, row: Row, handle: Handle) -> Observation:
        since = self._ended.setdefault(watched.key, time.monotonic())
        if read(watched.run.outcome) is None and _expected(watched, row) and time.monotonic() - since < LATE_FILES_S:
            return Observation(ProcessState.unknown, handle)
        self._ended.pop(watched.key, None)
        says = None
        if read(watched.run.claim) is None:
            # Whatever is still to come of it may not begin any more.
            watched.run.try_claim({"pid": 0, "started": 0.0})
            says = submission.output_of(self._folder / (watched.attempt.slurm_job_name or ""), row.id)
        if row.state == "CANCELLED":
            return self._cancelled(watched, handle, row.nodes or None, says)
        return Observation(ProcessState.ended, handle, row.nodes or None, says, _REASONS.get(row.state))

    def _cancelled(
        self, watched: TrackedAttempt, handle: Handle | None, host: str | None, says: str | None
    ) -> Observation:
        if self._restarted(watched):
            # A controller that comes back without having saved a job cancels what its nodes still run of it.
            return Observation(ProcessState.ended, handle, host, "Slurm was started anew and ended it", blameless=True)
        return Observation(ProcessState.ended, handle, host, says, cancelled=True)

    def _restarted(self, watched: TrackedAttempt) -> bool:
        """Whether Slurm's controller was started after this attempt, and lately."""
        booted = self._booted_at()
        return booted is not None and booted > watched.attempt.started_at and now() - booted < RESTART_AFTERMATH

    def _unseen(self, watched: TrackedAttempt, *, of_known_array: bool) -> Observation:
        """Neither the queue nor the accounting has it. One empty answer is not an end."""
        since = self._missing.setdefault(watched.key, time.monotonic())
        if (
            of_known_array
            and time.monotonic() - since >= SETTLED_S
            and watched.run.try_claim({"pid": 0, "started": 0.0})
        ):
            # Of a task that is cancelled before it began Slurm keeps no record at all.
            self._missing.pop(watched.key, None)
            return self._cancelled(watched, watched.attempt.handle, None, None)
        young = (now() - watched.attempt.started_at).total_seconds() < FORGOTTEN_S
        if read(watched.run.outcome) is None and (young or time.monotonic() - since < FORGOTTEN_S):
            return Observation(ProcessState.unknown)
        if read(watched.run.outcome) is None and not watched.run.try_claim({"pid": 0, "started": 0.0}):
            # A process has it. As long as it is there it holds the run directory, whatever Slurm knows of it.
            try:
                with run_lock(watched.run.path):
                    pass
            except InUseError:
                return Observation(ProcessState.unknown)
        self._missing.pop(watched.key, None)
        return Observation(ProcessState.ended, says="Slurm does not know it any more", blameless=True)

    def strays(self, attempts: Sequence[TrackedAttempt]) -> list[Row]:
        """What the last look saw waiting or running under a slurm_job_name of ours that is none of these attempts'."""
        names = {_name(watched) for watched in attempts}
        active = [row for row in self._rows if row.state in commands.PENDING | commands.RUNNING]
        return [row for row in active if _STAMP.fullmatch(row.name) and (row.name, row.index) not in names]

    def end_stray(self, row: Row) -> None:
        """Ends one of them."""
        self._cancel(row.id)

    def stop(self, handle: Handle, seen: Observation, *, cancel: bool) -> None:
        signal = None if cancel or seen.state is ProcessState.pending else "USR2"
        self._to_cancel.setdefault(signal, []).append(handle["slurm"])

    def kill(self, handle: Handle) -> None:
        self._cancel(handle["slurm"])

    def _cancel(self, slurm_id: str) -> None:
        self._to_cancel.setdefault(None, []).append(slurm_id)

    def flush(self) -> None:
        wanted, self._to_cancel = self._to_cancel, {}
        for signal, ids in wanted.items():
            commands.cancel(ids, signal=signal)


def _name(watched: TrackedAttempt) -> tuple[str, int | None]:
    return watched.attempt.slurm_job_name or "", watched.attempt.array_index


def _by_stamp(rows: Iterable[Row]) -> dict[tuple[str, int | None], list[Row]]:
    found: dict[tuple[str, int | None], list[Row]] = {}
    for row in rows:
        found.setdefault((row.name, row.index), []).append(row)
    return found


def _says(watched: TrackedAttempt, row: Row) -> str | None:
    if row.state in ("SUSPENDED", "STOPPED"):
        return f"it is suspended in Slurm: `scontrol resume {row.id}` lets it go on"
    return f"it begins on {row.nodes}" if watched.state is State.starting and row.nodes else None


def _expected(watched: TrackedAttempt, row: Row) -> bool:
    """Whether a last word of the process may still come: it had begun, and nothing kept it from ending well."""
    return row.state in ("COMPLETED", "FAILED") and read(watched.run.claim) is not None
