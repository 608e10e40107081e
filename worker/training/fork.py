"""Forks training processes from one that has imported everything: they start in a fraction of a second."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Collection, Mapping
from pathlib import Path

from core.run.rundir import AttemptDir
from worker.training.main import STOP_SIGNALS, run_attempt


class ThreadsError(RuntimeError):
    """This process has threads, whose locks a forked process could wait for for ever."""


def fork_attempt(
    attempt: AttemptDir,
    environment: Mapping[str, str],
    *,
    log: Path | None = None,
    stop_signals: Collection[signal.Signals] = STOP_SIGNALS,
) -> int:
    """Forks a process that runs an attempt; returns its pid. Raises ThreadsError, or OSError if no process can start.

    With `log` the process leads a session of its own and writes its output there.
    """
    if len(os.listdir("/proc/self/task")) != 1:
        raise ThreadsError("this process has threads")
    is_ready, ready = os.pipe()
    pid = os.fork()
    if pid:
        # The pid is good for signals to the process group once the child leads it: then it closes its end.
        os.close(ready)
        os.read(is_ready, 1)
        os.close(is_ready)
        return pid
    code = 1
    try:
        if log is not None:
            os.setsid()
            _redirect(log)
        # This end too, and whatever else the parent has open, such as its socket, is not for this process.
        os.closerange(3, 4096)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGUSR2, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        os.environ.clear()
        os.environ.update(environment)
        code = run_attempt(attempt, stop_signals)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _redirect(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
