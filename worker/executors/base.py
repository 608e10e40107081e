"""What an executor does: starts attempts, says what has become of them, and ends them. A handle survives restarts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from app.models import Attempt, Reason, State
from core.run.rundir import RunDir

Handle = dict[str, Any]
Key = tuple[str, int]


class RefusedError(Exception):
    """An executor will not start this, now or ever; the message is for the user."""


class LaterError(Exception):
    """An executor takes no more for the moment."""


class ProcessState(StrEnum):
    """Whether an attempt's process is still to come, there, gone, or out of sight."""

    pending = "pending"
    alive = "alive"
    ended = "ended"
    unknown = "unknown"


@dataclass(frozen=True)
class Observation:
    """What an executor sees of an attempt.

    `says` is why it waits, or does not go on, in plain words. Of one that has ended, `reason` is the executor's own
    account, `cancelled` whether somebody ended it there, and `blameless` whether it never had a chance to fail.
    """

    state: ProcessState
    handle: Handle | None = None
    host: str | None = None
    says: str | None = None
    reason: Reason | None = None
    cancelled: bool = False
    blameless: bool = False


@dataclass(frozen=True)
class Submission:
    """Attempts to be started alike, under one name; their tasks are written."""

    runs: Sequence[RunDir]
    slurm_job_name: str
    resources: dict[str, Any]
    devices: Sequence[str] = ()
    exclude: Sequence[str] = ()
    processes_per_node: int = 1
    lead_s: int = 60
    at_once: int | None = None


@dataclass
class TrackedAttempt:
    """An attempt, its files, and the state and message of its job."""

    attempt: Attempt
    run: RunDir
    state: State
    message: str | None

    @property
    def key(self) -> Key:
        """Job and number of the attempt."""
        return (self.attempt.job_id, self.attempt.number)


class Executor(Protocol):
    """Where training processes run."""

    # How long a process that is cancelled may take to go by itself.
    cancel_grace_s: float

    def submit(self, order: Submission) -> Sequence[Handle | None]:
        """Starts attempts; None for a handle that will be known later. Raises RefusedError or LaterError."""

    def poll(self, attempts: Sequence[TrackedAttempt]) -> dict[Key, Observation]:
        """What has become of attempts; `unknown` changes nothing."""

    def stop(self, handle: Handle, seen: Observation, *, cancel: bool) -> None:
        """Asks it to write a checkpoint and end; one that is to be cancelled may leave the checkpoint out."""

    def kill(self, handle: Handle) -> None:
        """Ends it and all that it started."""

    def flush(self) -> None:
        """Does together what was asked for one by one."""
