"""Forks training processes from one that has imported everything: they start in a fraction of a second."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NoReturn

from core.run.rundir import AttemptDir
from worker.training.main import STOP_SIGNALS, run_attempt


class ThreadsError(RuntimeError):
    """This process has threads: a forked process might wait for ever for a lock that one of them holds."""


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
    with os.fdopen(is_ready, "rb", buffering=0) as pipe:
        # A stop signal that reaches the child before its handlers exist stays pending until `StopRequest` unblocks it.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                _run_child(attempt, environment, log, stop_signals)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.close(ready)
        # The child closes its end once it leads its process group: from then on signals to the group reach it.
        pipe.read(1)
    return pid


def _run_child(
    attempt: AttemptDir, environment: Mapping[str, str], log: Path | None, stop_signals: Collection[signal.Signals]
) -> NoReturn:
    code = 1
    try:
        if log is not None:
            os.setsid()
            _redirect(log)
        # The pipe, and whatever else the parent has open, such as its socket.
        os.closerange(3, 4096)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, *STOP_SIGNALS, signal.SIGINT, signal.SIGHUP):
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
