"""What an executor does: starts an attempt, says whether it still runs, and ends it. A handle survives restarts."""

from __future__ import annotations

from typing import Any, Protocol

from worker.rundir import RunDir

Handle = dict[str, Any]


class Executor(Protocol):
    """Where training processes run."""

    def submit(self, run: RunDir, devices: list[str]) -> Handle:
        """Starts an attempt whose task is written."""

    def alive(self, handle: Handle) -> bool:
        """Whether the process is there."""

    def stop(self, handle: Handle) -> None:
        """Asks it to write a checkpoint and end."""

    def kill(self, handle: Handle) -> None:
        """Ends it and all that it started."""
