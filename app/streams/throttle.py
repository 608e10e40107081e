"""Lets progress through once per second and job."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from app.streams.events import EncodedEvent

INTERVAL_S = 1.0


class ProgressThrottle:
    """Holds back progress that follows too soon; of what it holds back, the newest of a job is due later."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sent_at: dict[str, float] = {}
        self._held: dict[str, EncodedEvent] = {}

    def admit(self, event: EncodedEvent) -> bool:
        """Whether an event may be sent now. A change of state makes progress that is held back obsolete."""
        if event.type == "state":
            self._held.pop(event.job_id, None)
        if event.type != "progress":
            return True
        now = self._clock()
        if now < self._sent_at.get(event.job_id, -math.inf) + INTERVAL_S:
            self._held[event.job_id] = event
            return False
        self._held.pop(event.job_id, None)
        self._sent_at[event.job_id] = now
        return True

    def due(self) -> list[EncodedEvent]:
        """Progress that was held back and may be sent now."""
        now = self._clock()
        # Jobs that have not sent any lately need not be remembered.
        self._sent_at = {job_id: at for job_id, at in self._sent_at.items() if now < at + INTERVAL_S}
        events = [event for job_id, event in self._held.items() if job_id not in self._sent_at]
        for event in events:
            del self._held[event.job_id]
            self._sent_at[event.job_id] = now
        return events

    def seconds_until_due(self) -> float:
        """The time until `due` has an event; infinite if nothing is held back."""
        times = [self._sent_at.get(job_id, -math.inf) + INTERVAL_S for job_id in self._held]
        return max(0.0, min(times, default=math.inf) - self._clock())
