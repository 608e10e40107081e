"""Sends nudges on a thread of its own, so that no request waits for the broker."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Literal

from app.settings import Settings

log = logging.getLogger(__name__)
# How long nothing is sent to a broker that has failed. The workers look at the database meanwhile.
PAUSE_S = 5.0
Nudge = Literal["start", "monitor"]


class Nudger:
    """One thread for a process. Nudges that wait to be sent are sent once, however often they were submitted.

    The thread is a daemon, so that a process can end at any time: what has not been sent by then is not needed.
    """

    def __init__(self, send: Callable[[Settings, Nudge], object]) -> None:
        self._send = send
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        # In the order of submission.
        self._waiting: dict[tuple[Settings, Nudge], None] = {}
        self._is_sending = False
        # Until when nothing is sent to the broker of these settings.
        self._paused_until: dict[Settings, float] = {}

    def submit(self, settings: Settings, nudge: Nudge) -> None:
        """Has a nudge sent at once, and returns without waiting. It is dropped if the broker has just failed."""
        with self._changed:
            if time.monotonic() < self._paused_until.get(settings, 0.0):
                return
            self._waiting[settings, nudge] = None
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="nudger", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Waits until nothing is left to be sent; returns whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._is_sending, timeout_s)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                settings, nudge = next(iter(self._waiting))
                del self._waiting[settings, nudge]
                self._is_sending = True
            error: Exception | None = None
            try:
                self._send(settings, nudge)
            except Exception as raised:  # whatever is wrong with the broker, the database has the truth
                error = raised
                log.warning("the broker is not reachable; the workers will see by themselves what changed: %s", error)
            with self._changed:
                self._is_sending = False
                if error is None:
                    self._paused_until.pop(settings, None)
                else:
                    self._paused_until[settings] = time.monotonic() + PAUSE_S
                    for key in [key for key in self._waiting if key[0] == settings]:
                        del self._waiting[key]
                self._changed.notify_all()
