"""A process on this machine that outlives the worker that started it: known by its pid and when it started."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil

# Start times have a resolution of 0.01 s, and a pid is not reused within this time.
_SAME_START_S = 0.5


@dataclass(frozen=True)
class ProcessHandle:
    """A process that leads a session and a process group of its own. `started_at` is in seconds since the epoch."""

    pid: int
    started_at: float

    external_id = None

    @classmethod
    def of(cls, pid: int) -> Self:
        """The handle of a process that is running now; raises psutil.NoSuchProcess."""
        return cls(pid, psutil.Process(pid).create_time())

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """The handle that `to_json` stored."""
        return cls(stored["pid"], stored["started"])

    def to_json(self) -> dict[str, Any]:
        return {"pid": self.pid, "started": self.started_at}

    def is_alive(self) -> bool:
        """Whether this very process is running; a zombie is not."""
        try:
            process = psutil.Process(self.pid)
            is_same = abs(float(process.create_time()) - self.started_at) < _SAME_START_S
            return is_same and process.status() != str(psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False

    def stop(self, *, cancel: bool = False) -> None:
        if self.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        if self.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def kill_remains(self, folder: Path) -> None:
        """Kills what the process has left in its process group after it has ended: what logs to files in this folder.

        The number of the group alone may be that of another one by now, for example after a reboot.
        """
        for pid in psutil.pids():
            with contextlib.suppress(OSError):
                if os.getpgid(pid) == self.pid and Path(os.readlink(f"/proc/{pid}/fd/2")).parent == folder:
                    os.kill(pid, signal.SIGKILL)
