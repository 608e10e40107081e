"""What a Slurm task runs: one attempt, or several one after another, each in a process forked from this one.

`python -m worker.training.slurm_task TASKS.json`: the file lists, by array index, the attempts of each task as pairs of
run directory and attempt number. SIGUSR2 stops the attempts that have a stop request, or all if none has one.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from core.run.protocol import Claim, Outcome, OutcomeKind
from core.run.rundir import AttemptDir, RunDir
from worker.training.failures import host_name
from worker.training.fork import fork_attempt
from worker.training.main import run_attempt
from worker.training.preload import preload


def main() -> int:
    """Runs the attempts of this task of the array."""
    tasks = json.loads(Path(sys.argv[1]).read_text())
    pairs = tasks[int(os.environ.get("SLURM_ARRAY_TASK_ID", "0"))]
    attempts = [RunDir(Path(path)).attempt(number) for path, number in pairs]
    if len(attempts) == 1:
        return run_attempt(attempts[0])
    return AttemptSequence(attempts).run()


class AttemptSequence:
    """Runs attempts one after another; each is claimed, stopped and reported like an attempt that runs alone."""

    def __init__(self, attempts: Sequence[AttemptDir]) -> None:
        self._attempts = attempts
        self._current: tuple[AttemptDir, int] | None = None
        self._stopping = False
        for number in (signal.SIGUSR2, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def run(self) -> int:
        """Returns 0 when every attempt has ended or is to be submitted again."""
        preload()
        for attempt in self._attempts:
            if self._stopping:
                break
            if attempt.claim.exists():
                # It was cancelled before its turn.
                continue
            # Slurm sends SIGUSR2 to every process of the task: only this one knows which attempt is to stop.
            pid = fork_attempt(attempt, dict(os.environ), stop_signals=(signal.SIGTERM,))
            self._current = (attempt, pid)
            if self._stopping:
                self._pass_on(pid, signal.SIGTERM)
            _wait(pid)
            self._current = None
            _report_if_lost(attempt, pid)
        return 0

    def _on_signal(self, number: int, _frame: object) -> None:
        current = self._current
        if number == signal.SIGUSR2 and current is not None and self._is_requested(*current):
            return
        if number == signal.SIGUSR2 and any(_open_request(attempt) for attempt in self._attempts):
            return
        # Preemption, or the time limit: the attempts that have not started are submitted again.
        self._stopping = True
        if current is not None:
            self._pass_on(current[1], signal.SIGTERM)

    def _is_requested(self, attempt: AttemptDir, pid: int) -> bool:
        request = _open_request(attempt)
        if request == "kill":
            self._pass_on(pid, signal.SIGKILL)
        elif request is not None:
            self._pass_on(pid, signal.SIGTERM)
        return request is not None

    def _pass_on(self, pid: int, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _open_request(attempt: AttemptDir) -> str | None:
    """The stop request of an attempt that has not ended; None if there is none."""
    try:
        request = attempt.stop_request.read_text()
    except OSError:
        return None
    return None if Outcome.read(attempt) is not None else request


def _report_if_lost(attempt: AttemptDir, pid: int) -> None:
    """Reports the end of a process that was killed: the worker sees only that the Slurm task is still running."""
    claim = Claim.read(attempt)
    if claim is not None and (claim.pid, claim.host) == (pid, host_name()) and Outcome.read(attempt) is None:
        with contextlib.suppress(OSError):
            Outcome(OutcomeKind.lost).write(attempt)


def _wait(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


if __name__ == "__main__":
    sys.exit(main())
