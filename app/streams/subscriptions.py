"""A bounded queue of new events of many jobs, for a reader that can also read them from the table."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field

from app.streams.queries import StreamedEvent

# Events that wait for a slow reader.
MAX_WAITING = 2_000


@dataclass(frozen=True)
class EventFilter:
    """The jobs and the types of events; None means all."""

    jobs: Collection[str] | None = None
    types: Collection[str] | None = None

    def matches(self, event: StreamedEvent) -> bool:
        """Whether an event is one of these."""
        return (self.jobs is None or event.job_id in self.jobs) and (self.types is None or event.type in self.types)


@dataclass(eq=False)
class Subscription:
    """New events that match a filter.

    If more of them wait than `MAX_WAITING`, all are dropped, and `take` says that the reader has missed some.
    """

    filter: EventFilter
    is_closed: bool = False
    _waiting: deque[StreamedEvent] = field(default_factory=deque)
    _has_missed: bool = False
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, event: StreamedEvent) -> None:
        """Add an event if it matches."""
        if not self.filter.matches(event):
            return
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.clear()
            self._has_missed = True
        if not self._has_missed:
            self._waiting.append(event)
        self._changed.set()

    def close(self) -> None:
        """End the subscription, as the service stops."""
        self.is_closed = True
        self._changed.set()

    async def take(self, timeout_s: float) -> tuple[list[StreamedEvent], bool]:
        """The waiting events, as soon as there are any or the time is over, and whether any were missed."""
        try:
            await asyncio.wait_for(self._changed.wait(), timeout_s)
        except TimeoutError:
            return [], False
        self._changed.clear()
        events, has_missed = list(self._waiting), self._has_missed
        self._waiting.clear()
        self._has_missed = False
        return events, has_missed
