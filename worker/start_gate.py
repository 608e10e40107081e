"""Whether this worker starts jobs: not while the disk that they would write to is nearly full or cannot be written."""

from __future__ import annotations

import errno
import logging
import threading
import time
from typing import Any

from app.jobs.disk_space import disk_space, in_gb, is_writable
from app.settings import Settings

log = logging.getLogger(__name__)
# How long a start that found the disk full pauses all others, whatever is free: a quota may be exhausted.
PAUSE_S = 60.0


def disk_trouble(error: OSError, host: str) -> str | None:
    """What to say of a start that failed for the disk and not for the job; None if it failed for something else."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space left on the disk of {host}: will start once there is room"
    if error.errno in (errno.EROFS, errno.EIO, errno.ESTALE):
        return f"the run directories of {host} cannot be written ({error.strerror}): will start once they can"
    return None


class StartGate:
    """Closes when the disk is nearly full or read-only or a start found it so, and opens again by itself."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # Local and remote rounds run on two threads.
        self._lock = threading.Lock()
        self._is_closed = False
        self._closed_until = 0.0

    def is_open(self) -> bool:
        """Whether jobs may start now."""
        status = self.status()
        return status is not None and not status["starts_paused"]

    def close(self) -> None:
        """Called after a start found the disk full or read-only."""
        with self._lock:
            self._is_closed, self._closed_until = True, time.monotonic() + PAUSE_S

    def status(self) -> dict[str, Any] | None:
        """What the heartbeat reports: the space in bytes, and whether starts are paused; None if it is not known."""
        can_write = is_writable(self._settings.runs_dir)
        try:
            space = disk_space(self._settings)
        except OSError as error:
            log.warning("the data folder cannot be reached, so no job starts: %s", error)
            return None
        with self._lock:
            if not can_write and not self._is_closed:
                self._is_closed = True
                log.warning("%s cannot be written: no job starts", self._settings.runs_dir)
            elif space.is_low and not self._is_closed:
                self._is_closed = True
                log.warning("%s free: no job starts below %s", in_gb(space.free), in_gb(space.min_free))
            elif self._is_closed and can_write and space.has_recovered and time.monotonic() >= self._closed_until:
                self._is_closed = False
                log.warning("%s free: jobs start again", in_gb(space.free))
            return {
                "free_bytes": space.free,
                "total_bytes": space.total,
                "min_free_bytes": space.min_free,
                "resume_at_bytes": space.resume_at,
                "starts_paused": self._is_closed,
                "writable": can_write,
            }
