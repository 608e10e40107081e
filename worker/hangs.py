"""When a training process hangs: it runs, and has written nothing to its event log for too long."""

from __future__ import annotations

import time
from dataclasses import dataclass

from app.models import State
from core.run.protocol import Outcome, Task
from core.run.rundir import AttemptDir
from worker.executors.base import Observation, ProcessState, TrackedAttempt
from worker.queries import AttemptKey

# Of a longer time between two looks only this much counts: the worker was stopped, or Slurm did not answer.
MAX_GAP_S = 60.0


@dataclass
class _Silence:
    """How long an attempt has reported nothing under this worker's eyes. `log` is the state of its event log."""

    limit_min: int | None
    log: tuple[int, int]
    looked_at: float
    silent_s: float = 0.0


class HangDetector:
    """Measures by this process's monotonic clock: clocks of other machines, and times of files, are not compared."""

    def __init__(self) -> None:
        self._silences: dict[AttemptKey, _Silence] = {}

    def exceeded_min(self, tracked: TrackedAttempt, observation: Observation) -> int | None:
        """The hang timeout in minutes of an attempt that has exceeded it; None for one that has not."""
        can_report = observation.state is ProcessState.alive and not observation.is_suspended
        if not can_report or tracked.job_state not in (State.starting, State.running):
            self.forget(tracked.key)
            return None
        log, at = _log_state(tracked.dir), time.monotonic()
        silence = self._silences.get(tracked.key)
        if silence is None:
            task = Task.read(tracked.dir)
            limit_min = task.hang_timeout_min if task is not None else None
            silence = self._silences[tracked.key] = _Silence(limit_min, log, at)
        silence.silent_s += min(at - silence.looked_at, MAX_GAP_S)
        silence.looked_at = at
        if log != silence.log:
            silence.log, silence.silent_s = log, 0.0
        if silence.limit_min is None or silence.silent_s < 60.0 * silence.limit_min:
            return None
        # Its work is done; it is the end of the process that takes long.
        return None if Outcome.read(tracked.dir) is not None else silence.limit_min

    def forget(self, key: AttemptKey) -> None:
        """Starts anew when the attempt is seen the next time."""
        self._silences.pop(key, None)


def _log_state(attempt: AttemptDir) -> tuple[int, int]:
    """Size and time of change of the event log; they only say whether it has changed."""
    try:
        status = attempt.events.stat()
    except FileNotFoundError:
        return 0, 0
    return status.st_size, status.st_mtime_ns
