"""Handles of attempts in Slurm, and the signals that are sent together."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Any

from core.run.protocol import Claim
from core.run.rundir import AttemptDir
from worker.executors.slurm import queue_commands as commands

STOP_SIGNAL = "USR2"


class SignalQueue:
    """Collects cancellations and signals, so that one scancel serves many jobs."""

    def __init__(self) -> None:
        self._ids: dict[str | None, list[str]] = {}

    def cancel(self, slurm_id: str) -> None:
        """Cancels a job at the next flush."""
        self._ids.setdefault(None, []).append(slurm_id)

    def signal(self, slurm_id: str) -> None:
        """Sends the stop signal to a job's processes at the next flush."""
        self._ids.setdefault(STOP_SIGNAL, []).append(slurm_id)

    def flush(self) -> None:
        """Sends everything that was collected."""
        collected, self._ids = self._ids, {}
        for signal, ids in collected.items():
            commands.cancel(list(dict.fromkeys(ids)), signal=signal)


@dataclass(frozen=True)
class SlurmHandle:
    """An attempt in Slurm. `shared` is its directory if other attempts run in the same Slurm task."""

    external_id: str
    signals: SignalQueue = field(compare=False, repr=False)
    is_pending: bool = False
    shared: AttemptDir | None = None

    def to_json(self) -> dict[str, Any]:
        return {"slurm": self.external_id}

    def stop(self, *, cancel: bool) -> None:
        if self.shared is not None:
            self._stop_shared(self.shared, "stop")
        elif cancel or self.is_pending:
            self.signals.cancel(self.external_id)
        else:
            self.signals.signal(self.external_id)

    def kill(self) -> None:
        if self.shared is not None:
            self._stop_shared(self.shared, "kill")
        else:
            self.signals.cancel(self.external_id)

    def _stop_shared(self, attempt: AttemptDir, request: str) -> None:
        """Stops one attempt of several: keeps it from starting, or marks it with a file and signals the task."""
        if Claim.abandoned().try_claim(attempt):
            return
        with contextlib.suppress(OSError):
            attempt.stop_request.write_text(request)
        self.signals.signal(self.external_id)
