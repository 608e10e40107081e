"""The seam between the worker and what runs training processes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from sqlmodel import Session

from app.models import Attempt, Job, Reason, State
from core.run.rundir import AttemptDir
from worker.queries import AttemptKey


class RefusedError(Exception):
    """The executor will never accept this submission; the message is for the user."""


class BusyError(Exception):
    """The executor accepts no more submissions at the moment; nothing was started."""


class ProcessState(StrEnum):
    """Whether the process of an attempt has not started yet, is running, has ended, or cannot be observed."""

    pending = "pending"
    alive = "alive"
    ended = "ended"
    unknown = "unknown"


class Handle(Protocol):
    """A started attempt. It survives a restart of the worker as the JSON in `attempts.handle`."""

    @property
    def external_id(self) -> str | None:
        """The id by which users find the attempt in the executor's own tools, such as a Slurm job id."""

    def to_json(self) -> dict[str, Any]:
        """What the executor needs to find the attempt again."""

    def stop(self, *, cancel: bool) -> None:
        """Requests a checkpoint and an end; an attempt that is to be cancelled may end without the checkpoint."""

    def kill(self) -> None:
        """Ends the attempt and everything it started."""


@dataclass(frozen=True)
class Observation:
    """What an executor observes of an attempt.

    `message` says in plain words why the attempt is pending or does not run. For an ended attempt: `reason` is why, as
    far as the executor knows; `cancelled` means that someone cancelled it with the executor's own tools;
    `lost_by_executor` that the executor, not the attempt, is to blame, so that the end is no failure of the job. Of a
    running attempt, `is_suspended` means that its processes are stopped for a while and can report nothing.
    """

    state: ProcessState
    handle: Handle | None = None
    host: str | None = None
    message: str | None = None
    reason: Reason | None = None
    cancelled: bool = False
    lost_by_executor: bool = False
    is_suspended: bool = False


@dataclass(frozen=True)
class Submission:
    """What attempts that start together have in common.

    `resources` is the job's section of that name with defaults filled in. `devices` are leased on this machine.
    `lead_s` is how many seconds before the time limit the stop signal is sent. `job_name` is the unique Slurm job name.
    `max_parallel` bounds the attempts of an array that run at once; each of its tasks runs `attempts_per_task`
    attempts, one after another.
    """

    resources: Mapping[str, Any]
    device: str | None = None
    devices: Sequence[str] = ()
    host: str = ""
    lead_s: int = 0
    job_name: str | None = None
    exclude: Sequence[str] = ()
    processes_per_node: int = 1
    max_parallel: int | None = None
    attempts_per_task: int = 1


@dataclass(frozen=True)
class Batch:
    """Queued jobs that an executor has room for, to be started together."""

    jobs: Sequence[Job]
    submission: Submission

    def array_index(self, position: int) -> int | None:
        """The array index of the job at a position; None if one task runs the whole batch."""
        per_task = self.submission.attempts_per_task
        return position // per_task if len(self.jobs) > per_task else None


@dataclass(frozen=True)
class TrackedAttempt:
    """An attempt that has not ended, its files, and the state and message of its job."""

    attempt: Attempt
    dir: AttemptDir
    job_state: State
    job_message: str | None

    @property
    def key(self) -> AttemptKey:
        """Job id and attempt number."""
        return (self.attempt.job_id, self.attempt.number)


class Executor(Protocol):
    """Runs attempts somewhere. A new executor is one class and one row in `worker.executors.table`."""

    # Whether its attempts belong to the machine that started them; otherwise any worker can follow them.
    is_local: bool
    # How long a cancelled process may take to end by itself before it is killed.
    cancel_grace_s: float
    # The signal that tells a process that its time limit is near, and how much earlier than due it may come.
    time_limit_signal: str
    time_limit_tolerance_s: float

    def status(self) -> dict[str, Any] | None:
        """What `GET /cluster` shows about it; None if there is nothing to show."""

    def next_batch(self, session: Session) -> Batch | None:
        """The next queued jobs there is room for; None if there are none or there is no room."""

    def submit(self, submission: Submission, attempts: Sequence[AttemptDir]) -> Sequence[Handle | None]:
        """Starts attempts whose tasks are written. A handle may be None until `poll` finds it.

        Raises RefusedError, BusyError, or OSError if no process can be started.
        """

    def is_responsible(self, session: Session) -> bool:
        """Whether this worker is the one that follows the executor's attempts."""

    def poll(self, attempts: Sequence[TrackedAttempt]) -> dict[AttemptKey, Observation]:
        """Observes attempts. An `unknown` one changes nothing: being unreachable is not having failed."""

    def strays(self, attempts: Sequence[TrackedAttempt]) -> Collection[tuple[str, int | None]]:
        """Slurm job names and array indexes of what the last poll saw running for none of these attempts."""

    def cancel_stray(self, name: str, index: int | None) -> None:
        """Cancels one of them."""

    def kill_leftover(self, tracked: TrackedAttempt) -> None:
        """Kills what still runs on this machine for an attempt that another worker has ended."""

    def flush(self) -> None:
        """Carries out stops and kills that were collected to be done together."""

    def close(self) -> None:
        """Called when the worker stops; running attempts are not affected."""
