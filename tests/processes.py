"""Which tests start child processes, and a guard that stops every other test from starting one."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from unittest.mock import patch

import pytest

MARKER = "processes"
# Fixtures that start processes; a test that uses one of them carries the marker by itself.
FIXTURES = {"up", "postgres_server", "redis_url", "slurm_cluster"}
# Folders whose tests start processes throughout.
FOLDERS = ("tests/e2e/", "tests/slurm/", "tests/benchmarks/")
_EVENTS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.exec", "os.system"}


class ProcessStarted(AssertionError):  # noqa: N818
    """A test without the marker started a child process."""


class _Guard:
    """Refuses the start of child processes of this process while it is armed, and remembers them."""

    def __init__(self) -> None:
        self.armed_in: int | None = None
        self.refused: list[str] = []
        # An audit hook sees every way to start a process; it cannot be removed again.
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if event in _EVENTS and self.armed_in == os.getpid():
            self.refuse(f"{event}{arguments[:2]!r}")

    def refuse(self, what: str) -> None:
        """Notes the start and raises; code that catches the error does not hide it."""
        self.refused.append(what[:200])
        raise ProcessStarted(f"this test starts a process ({what[:200]}): mark it with @pytest.mark.{MARKER}")


_guard = _Guard()


@contextmanager
def forbidden() -> Iterator[list[str]]:
    """While this is active, no child process can be started; gives the list of those that were refused."""

    def start(process: BaseProcess) -> None:
        _guard.refuse(f"multiprocessing {process.name}")

    _guard.armed_in, _guard.refused = os.getpid(), []
    try:
        # Spawned processes of multiprocessing raise no audit event.
        with patch.object(BaseProcess, "start", start):
            yield _guard.refused
    finally:
        _guard.armed_in = None


def mark(items: Sequence[pytest.Item]) -> None:
    """Gives the marker to tests in the folders and with the fixtures that start processes."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if item.nodeid.startswith(FOLDERS) or FIXTURES & fixtures:
            item.add_marker(MARKER)
