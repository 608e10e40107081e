"""Distributes new events to all subscribers, reading the event table once for all of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool

from app.db import reading
from app.streams import queries
from app.streams.queries import StreamedEvent
from app.streams.subscriptions import EventFilter, Subscription

log = logging.getLogger(__name__)
POLL_S = 0.2
BATCH = 5_000
# A subscriber that falls this far behind is disconnected; its client reconnects with the last event id that it has.
MAX_BEHIND = 2_000

Queue = asyncio.Queue[StreamedEvent | None]


class Hub:
    """Polls the event table while anybody is subscribed."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._queues: dict[str, set[Queue]] = {}
        self._subscriptions: set[Subscription] = set()
        self._task: asyncio.Task[None] | None = None
        # The last event that has been distributed; None while nobody is subscribed.
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

    @contextlib.asynccontextmanager
    async def subscribed(self, job_id: str) -> AsyncIterator[Queue]:
        """A queue of a job's events; None in it ends the stream.

        An event is stored when the context is entered, or it comes through the queue; it may be both.
        """
        queue: Queue = asyncio.Queue()
        self._queues.setdefault(job_id, set()).add(queue)
        try:
            await self._follow()
            yield queue
        finally:
            self._queues[job_id].discard(queue)
            if not self._queues[job_id]:
                del self._queues[job_id]

    @contextlib.asynccontextmanager
    async def subscribed_to(self, events: EventFilter) -> AsyncIterator[Subscription]:
        """The events that match, whichever jobs they are of. Whatever is committed from then on, it gets."""
        subscription = Subscription(events)
        self._subscriptions.add(subscription)
        try:
            await self._follow()
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    async def _follow(self) -> None:
        """Have every event distributed that is committed from now on."""
        if self._last_id is None:
            latest_id = await run_in_threadpool(self._latest_id)
            # Another subscriber may have been faster.
            self._last_id = latest_id if self._last_id is None else self._last_id

    async def _run(self) -> None:
        while True:
            try:
                if not self._queues and not self._subscriptions:
                    self._last_id = None
                elif self._last_id is not None:
                    self._distribute(await run_in_threadpool(self._new_events, self._last_id))
            except Exception as error:  # the database may be available again at the next poll
                log.warning("new events are not available at the moment: %s", error)
            await asyncio.sleep(POLL_S)

    def _latest_id(self) -> int:
        with reading(self.engine) as session:
            return queries.latest_event_id(session)

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
