"""A lock on a run directory, so that only one process, or one group of processes, works in it at a time."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


class InUseError(ValueError):
    """Another process holds the lock of the run directory."""


@contextmanager
def run_lock(run_dir: Path, *, wait_s: float = 0.0, give_up: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Locks a run directory; raises InUseError if another process still holds it after `wait_s` seconds.

    `give_up` ends the wait early once it returns true. The operating system releases the lock when the process ends,
    even if it is killed.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(run_dir / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    deadline = time.monotonic() + wait_s
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline or give_up():
                    raise InUseError(
                        f"another process is using {run_dir}: wait for it, or use another folder"
                    ) from None
            time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)
