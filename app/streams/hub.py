"""Distributes new events to all subscribers, reading the event table once for all of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator

from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool

from app.db import reading
from app.streams import queries
from app.streams.queries import StreamedEvent
from app.streams.subscriptions import EventFilter, Subscription

log = logging.getLogger(__name__)
POLL_S = 0.2
BATCH = 5_000
# New subscribers have read up to this many of the latest events themselves; they skip what they have seen.
OVERLAP = 100
# A subscriber that falls this far behind is disconnected; its client reconnects with the last event id that it has.
MAX_BEHIND = 2_000

Queue = asyncio.Queue[StreamedEvent | None]


class Hub:
    """Polls the event table while anybody is subscribed."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._queues: dict[str, set[Queue]] = {}
        self._subscriptions: set[Subscription] = set()
        self._is_following = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        # None while nobody is subscribed.
        self._last_id: int | None = None

    async def start(self) -> None:
        """Start polling."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop polling and end every stream."""
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        for queues in self._queues.values():
            for queue in queues:
                queue.put_nowait(None)
        for subscription in self._subscriptions:
            subscription.close()
        self._is_following.set()

    @contextlib.contextmanager
    def subscribed(self, job_id: str) -> Iterator[Queue]:
        """A queue of a job's events from now on; None in it ends the stream."""
        queue: Queue = asyncio.Queue()
        self._queues.setdefault(job_id, set()).add(queue)
        try:
            yield queue
        finally:
            self._queues[job_id].discard(queue)
            if not self._queues[job_id]:
                del self._queues[job_id]

    @contextlib.contextmanager
    def subscribed_to(self, events: EventFilter) -> Iterator[Subscription]:
        """The events that match, from now on, whichever jobs they are of."""
        subscription = Subscription(events)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    async def following(self) -> None:
        """Wait until every event that is committed from now on is distributed to the subscribers."""
        await self._is_following.wait()

    async def _run(self) -> None:
        while True:
            try:
                if not self._queues and not self._subscriptions:
                    self._last_id = None
                    self._is_following.clear()
                elif self._last_id is None:
                    self._last_id = await run_in_threadpool(self._start_id)
                    self._is_following.set()
                else:
                    self._distribute(await run_in_threadpool(self._new_events, self._last_id))
            except Exception as error:  # the database may be available again at the next poll
                log.warning("new events are not available at the moment: %s", error)
            await asyncio.sleep(POLL_S)

    def _start_id(self) -> int:
        with reading(self.engine) as session:
            return max(0, queries.latest_event_id(session) - OVERLAP)

    def _new_events(self, last_id: int) -> list[StreamedEvent]:
        with reading(self.engine) as session:
            return queries.events_after(session, last_id, BATCH)

    def _distribute(self, events: list[StreamedEvent]) -> None:
        for event in events:
            self._last_id = event.id
            for queue in self._queues.get(event.job_id, ()):
                if queue.qsize() <= MAX_BEHIND:
                    queue.put_nowait(event if queue.qsize() < MAX_BEHIND else None)
            for subscription in self._subscriptions:
                subscription.put(event)
