"""Whether this worker starts jobs: not while the disk that they would write to is nearly full."""

from __future__ import annotations

import errno
import logging
import threading
import time
from typing import Any

from app.jobs.disk_space import disk_space, in_gb
from app.settings import Settings

log = logging.getLogger(__name__)
# How long a start that found the disk full pauses all others, whatever is free: a quota may be exhausted.
PAUSE_S = 60.0


def is_disk_full(error: OSError) -> bool:
    """Whether an operation failed because there is no space left, or none that this user may use."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


class StartGate:
    """Closes when the disk is nearly full or a start found it full, and opens again by itself."""

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
        """Called after a start found the disk full."""
        with self._lock:
            self._is_closed, self._closed_until = True, time.monotonic() + PAUSE_S

    def status(self) -> dict[str, Any] | None:
        """What the heartbeat reports: the space in bytes, and whether starts are paused; None if it is not known."""
        try:
            space = disk_space(self._settings)
        except OSError as error:
            log.warning("the data folder cannot be reached, so no job starts: %s", error)
            return None
        with self._lock:
            if space.is_low and not self._is_closed:
                self._is_closed = True
                log.warning("%s free: no job starts below %s", in_gb(space.free), in_gb(space.min_free))
            elif self._is_closed and space.has_recovered and time.monotonic() >= self._closed_until:
                self._is_closed = False
                log.warning("%s free: jobs start again", in_gb(space.free))
            return {
                "free_bytes": space.free,
                "total_bytes": space.total,
                "min_free_bytes": space.min_free,
                "resume_at_bytes": space.resume_at,
                "starts_paused": self._is_closed,
            }
