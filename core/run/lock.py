"""One process, or one group of processes, at a time works in a run directory."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


class InUseError(ValueError):
    """Another process works in the run directory."""


@contextmanager
def run_lock(run_dir: Path, *, wait_s: float = 0.0, give_up: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Holds a run directory; raises InUseError if another holds it still after `wait_s`, or `give_up` says so.

    The operating system lets go of the lock when the process ends, however it ends.
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
                        f"another process works in {run_dir}: wait for it, or use another folder"
                    ) from None
            time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)
