"""The first process of a container: `python -m app.supervisor.container COMMAND ..`."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from types import FrameType

import psutil

# Time that the command has to end before it is killed.
STOP_LIMIT_S = 15.0
PR_SET_CHILD_SUBREAPER = 36


def contained(command: list[str]) -> int:
    """Run a command as the first process of a container; returns its exit code, 128 + n after signal n.

    A container is killed when its first process ends, while training processes outlive their worker. Here they become
    children of this process, which sends them SIGTERM after the command has ended and waits while they write their
    checkpoints. Files are created for their owner alone.
    """
    os.umask(0o077)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    pid = os.posix_spawnp(command[0], command, os.environ)

    def forward(number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL if number == signal.SIGALRM else number)
        signal.setitimer(signal.ITIMER_REAL, STOP_LIMIT_S)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, forward)
    while (ended := os.wait())[0] != pid:
        pass
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    terminated: set[int] = set()
    # A process that ends may leave children of its own.
    while remaining := psutil.Process().children():
        for process in remaining:
            if process.pid not in terminated:
                terminated.add(process.pid)
                process.terminate()
        os.wait()
    code = os.waitstatus_to_exitcode(ended[1])
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(contained(sys.argv[1:]))
