"""The log files of API and worker: bounded in size, and complete over restarts.

The processes write to a pipe, and a thread of the supervisor copies it line by line into a file that is rotated.
Nothing has to be reopened in the process, and output that no logger sees, such as a crash at the start, is kept too.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO

MAX_LOG_BYTES = 10 << 20
BACKUPS = 2
MAX_LINE_BYTES = 64 << 10


class LogFile:
    """`name.log` with its predecessors `name.log.1` and `name.log.2`, each of at most `max_bytes`."""

    def __init__(self, path: Path, max_bytes: int = MAX_LOG_BYTES) -> None:
        self.path = path
        self._handler = _Handler(path, maxBytes=max_bytes, backupCount=BACKUPS, encoding="utf-8", delay=True)
        self._threads: list[threading.Thread] = []

    def follow(self, pipe: IO[bytes]) -> None:
        """Copy a pipe in the background until all its writers have closed it."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=self._copy, args=(pipe,), name=self.path.name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _copy(self, pipe: IO[bytes]) -> None:
        with pipe:
            while line := pipe.readline(MAX_LINE_BYTES):
                text = line.decode("utf-8", "backslashreplace").rstrip("\n")
                self._handler.handle(logging.makeLogRecord({"msg": text}))

    def wait(self, timeout_s: float) -> None:
        """Wait until everything that ended processes have written is in the file."""
        for thread in self._threads:
            thread.join(timeout_s)

    def last_lines(self, count: int) -> list[str]:
        """The end of the file; empty if there is none."""
        with contextlib.suppress(OSError):
            return self.path.read_text(errors="replace").strip().splitlines()[-count:]
        return []

    def close(self) -> None:
        """Close the file."""
        self._handler.close()


class _Handler(RotatingFileHandler):
    """Drops a line that cannot be written, on a full disk for example: the pipe must be emptied all the same."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        pass
