"""The JSON files that service and training process exchange in an attempt directory.

The service writes a `Task`; the training process writes a `Claim` when it starts and an `Outcome` when it ends. Files
of older versions are read too: their field names are in `_OLD_NAMES`.
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Self

from core.run.durable import write_durably
from core.run.rundir import AttemptDir


class _Message:
    """A dataclass that is stored as one JSON object."""

    _OLD_NAMES: ClassVar[dict[str, str]] = {}

    @classmethod
    def from_file(cls, file: Path) -> Self | None:
        """Reads the file; None if it does not exist (yet)."""
        try:
            content: dict[str, Any] = json.loads(file.read_text())
        except FileNotFoundError:
            return None
        names = {field.name for field in fields(cls)}  # type: ignore[arg-type]
        renamed = {cls._OLD_NAMES.get(name, name): value for name, value in content.items()}
        return cls(**{name: value for name, value in renamed.items() if name in names})

    def to_file(self, file: Path) -> None:
        """Writes the file; readers see either all of it or the previous version."""
        file.parent.mkdir(parents=True, exist_ok=True)
        write_durably(file, lambda draft: draft.write_text(self._to_json()))

    def _to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)  # type: ignore[call-overload]


@dataclass(frozen=True)
class Task(_Message):
    """The work of a training process; besides this it reads only its run directory.

    `spec` names components by file. `device` is `cpu`, or None to choose. `processes` is how many processes share the
    work on this machine. `hang_timeout_min` is for the worker: null, as in tasks of earlier versions, switches it off.
    `lead_s` is how many seconds before the time limit the stop signal is sent. In the folder
    `content_cache`, digests of datasets are kept for all jobs.
    """

    job_id: str
    attempt: int
    spec: dict[str, Any]
    data_roots: list[str]
    device: str | None = None
    processes: int = 1
    time_limit_min: int | None = None
    hang_timeout_min: int | None = None
    lead_s: int = 0
    content_cache: str | None = None

    _OLD_NAMES: ClassVar[dict[str, str]] = {"job": "job_id"}

    def write(self, attempt: AttemptDir) -> None:
        """Stores the task in its attempt directory."""
        self.to_file(attempt.task)

    @classmethod
    def read(cls, attempt: AttemptDir) -> Self | None:
        """Reads the task of an attempt; None if it has not been written yet."""
        return cls.from_file(attempt.task)


@dataclass(frozen=True)
class Claim(_Message):
    """The process that runs an attempt: its pid, when it started (seconds since the epoch), and where."""

    pid: int
    started_at: float
    host: str = ""
    slurm_job_id: str | None = None

    _OLD_NAMES: ClassVar[dict[str, str]] = {"started": "started_at"}

    @classmethod
    def abandoned(cls) -> Self:
        """The claim of no process: a process that starts late finds the attempt claimed and exits."""
        return cls(pid=0, started_at=0.0)

    @classmethod
    def read(cls, attempt: AttemptDir) -> Self | None:
        """The claim on an attempt; None if no process has claimed it yet."""
        return cls.from_file(attempt.claim)

    def try_claim(self, attempt: AttemptDir) -> bool:
        """Creates the claim file with its content in one step; False if another process was first."""
        attempt.path.mkdir(parents=True, exist_ok=True)
        # Processes of several machines, which may have the same pid, write to one folder.
        draft = attempt.path / f".claim.{socket.gethostname()}.{os.getpid()}"
        try:
            with draft.open("w") as file:
                file.write(self._to_json())
                file.flush()
                # Without this, a power cut could leave a claim without content.
                os.fsync(file.fileno())
            os.link(draft, attempt.claim)
        except FileExistsError:
            return False
        finally:
            draft.unlink(missing_ok=True)
        return True


class OutcomeKind(StrEnum):
    """How an attempt ended. `stopped` is on request, after a checkpoint; `lost` is without any report."""

    succeeded = "succeeded"
    failed = "failed"
    stopped = "stopped"
    lost = "lost"


@dataclass(frozen=True)
class Outcome(_Message):
    """How an attempt ended.

    `reason` is a reason code of the API and `message` one sentence for the user; with `is_user_error` the message is
    complete, and the end of the log is not shown with it. `host` is the machine whose hardware failed. Of a
    stopped attempt, `signal`, `stopped_at` and `started_at` (seconds since the epoch) and `lead_s` explain why.
    """

    kind: OutcomeKind
    reason: str | None = None
    message: str | None = None
    is_user_error: bool = False
    step: int | None = None
    host: str | None = None
    signal: str | None = None
    stopped_at: float | None = None
    started_at: float | None = None
    lead_s: float = 0.0

    _OLD_NAMES: ClassVar[dict[str, str]] = {
        "outcome": "kind", "plain": "is_user_error", "node": "host", "at": "stopped_at", "began": "started_at",
    }  # fmt: skip

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", OutcomeKind(self.kind))

    def write(self, attempt: AttemptDir, rank: int = 0) -> None:
        """Reports the end of an attempt, or the failure of one of its other processes."""
        self.to_file(attempt.outcome if rank == 0 else attempt.rank_outcome(rank))

    @classmethod
    def read(cls, attempt: AttemptDir) -> Self | None:
        """How an attempt ended; None if it has not reported an end."""
        return cls.from_file(attempt.outcome)

    @classmethod
    def read_from_ranks(cls, attempt: AttemptDir) -> Self | None:
        """The failure that a process other than the first reported; None if none did."""
        files = sorted(attempt.path.glob(attempt.rank_outcome("*").name))
        return cls.from_file(files[0]) if files else None


@dataclass(frozen=True)
class Rendezvous(_Message):
    """Where the first process of an attempt waits for the others."""

    address: str
    port: int
    slurm_job_id: str | None = None

    def write(self, attempt: AttemptDir) -> None:
        """Publishes the address to the other processes."""
        self.to_file(attempt.rendezvous)

    @classmethod
    def read(cls, attempt: AttemptDir) -> Self | None:
        """The published address; None if the first process has not written it yet."""
        return cls.from_file(attempt.rendezvous)
