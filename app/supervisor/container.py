"""The first process of a container: `python -m app.supervisor.container COMMAND ..`."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from types import FrameType

import psutil

# How long the command may take to end before it is killed.
STOP_LIMIT_S = 15.0


def contained(words: list[str]) -> int:
    """Runs a command as a container's first; when it has ended, all that it leaves running is told to stop.

    Whatever is in a container is killed when its first process ends. Training processes outlive their worker, so they
    come to this process (PR_SET_CHILD_SUBREAPER is 36), which lets them write their checkpoints.
    """
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
    pid = os.posix_spawnp(words[0], words, os.environ)

    def pass_on(number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL if number == signal.SIGALRM else number)
        signal.setitimer(signal.ITIMER_REAL, STOP_LIMIT_S)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, pass_on)
    while (ended := os.wait())[0] != pid:
        pass
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    told: set[int] = set()
    # One that ends may leave others.
    while left := psutil.Process().children():
        for process in left:
            if process.pid not in told:
                told.add(process.pid)
                process.terminate()
        os.wait()
    code = os.waitstatus_to_exitcode(ended[1])
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(contained(sys.argv[1:]))
