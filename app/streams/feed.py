"""The latest events of one job or of all, which their subscribers share, and a subscriber's place in them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from app.streams.events import EncodedEvent, EventFilter, coalesce, first_part
from app.streams.replay import Replays

MAX_EVENTS = 2_000
# Subscribers that are woken at a time: in between, the process answers other requests.
WOKEN_TOGETHER = 50


class Feed:
    """The latest events that were distributed, bounded in number and bytes whatever its subscribers have read."""

    def __init__(self, start: int) -> None:
        # Every event with a higher id that has been distributed is here.
        self.start = start
        self.subscribers = 0
        self.is_closed = False
        self._events: deque[EncodedEvent] = deque()
        self._bytes = 0
        self._waiting: set[asyncio.Future[None]] = set()

    def add(self, event: EncodedEvent, max_bytes: int) -> None:
        """Adds the newest event, and drops the oldest ones beyond `MAX_EVENTS` or `max_bytes`."""
        self._events.append(event)
        self._bytes += len(event.frame)
        while len(self._events) > MAX_EVENTS or self._bytes > max_bytes:
            oldest = self._events.popleft()
            self._bytes -= len(oldest.frame)
            self.start = oldest.id

    def after(self, position: int) -> list[EncodedEvent]:
        """The events here with a higher id, oldest first."""
        events = []
        for event in reversed(self._events):
            if event.id <= position:
                break
            events.append(event)
        events.reverse()
        return events

    async def wait(self, position: int, timeout_s: float) -> None:
        """Waits for an event with a higher id, the end of the feed or the timeout, whichever is first."""
        if self.is_closed or (self._events and self._events[-1].id > position):
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.add(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await waiter
        except TimeoutError:
            pass
        finally:
            self._waiting.discard(waiter)

    async def wake(self) -> None:
        """Has everyone who waits look for events."""
        waiting, self._waiting = self._waiting, set()
        for number, waiter in enumerate(waiting, 1):
            if not waiter.done():
                waiter.set_result(None)
            if number % WOKEN_TOGETHER == 0:
                await asyncio.sleep(0)

    def close(self) -> None:
        """Ends the feed, as the service stops."""
        self.is_closed = True
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)


class Subscription:
    """A subscriber's place in a feed: it has been given all events of the filter up to `position`.

    Events that the feed does not have any more come from the database. Nothing is kept for a subscriber, so one that
    reads slowly costs no memory; one that is behind misses progress and metrics that newer events supersede.
    """

    def __init__(self, feed: Feed, replays: Replays, events: EventFilter, position: int, *, with_job: bool) -> None:
        self.position = position
        self._feed = feed
        self._replays = replays
        self._filter = events
        self._with_job = with_job
        # A client that resumes gets every event that is stored; coalescing begins once it has caught up.
        self._is_live = False

    @property
    def is_closed(self) -> bool:
        """Whether the service stops."""
        return self._feed.is_closed

    async def next(self, timeout_s: float) -> Sequence[EncodedEvent]:
        """The next events, as soon as there are any. None also mean that the timeout is over, or that others came."""
        if self.position < self._feed.start:
            block = await self._replays.read(self._filter, self.position, with_job=self._with_job)
            self.position = block.position
            return coalesce(block.events) if self._is_live else block.events
        self._is_live = True
        await self._feed.wait(self.position, timeout_s)
        if self.position < self._feed.start:
            return ()
        new = self._feed.after(self.position)
        events = coalesce([event for event in new if self._filter.matches(event)])
        part = first_part(events)
        if new:
            self.position = new[-1].id if len(part) == len(events) else part[-1].id
        return part
