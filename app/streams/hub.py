"""Distributes new events to all subscribers: they are read and encoded once for all of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import anyio
from sqlalchemy import Engine

from app.db import reading
from app.streams import queries
from app.streams.events import EventFilter, StreamedEvent
from app.streams.feed import Feed, Subscription
from app.streams.replay import Replays

log = logging.getLogger(__name__)
POLL_S = 0.2
BATCH = 5_000
# Of the events that are kept for subscribers that are behind, in all feeds together.
MAX_BYTES = 16 << 20


class Hub:
    """Polls the event table while anybody is subscribed."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._replays = Replays(engine)
        # By job; None is the feed of all jobs, in whose events `data` names the job.
        self._feeds: dict[str | None, Feed] = {}
        self._subscribers = 0
        self._task: asyncio.Task[None] | None = None
        # The last event that has been distributed; None while nobody is subscribed.
        self._last_id: int | None = None
        # A thread of its own, so that many requests do not hold up events.
        self._limiter = anyio.CapacityLimiter(1)
        # Events that were read for subscribers, since the start.
        self.num_distributed = 0

    async def start(self) -> None:
        """Start polling."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop polling and end every stream."""
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        for feed in self._feeds.values():
            feed.close()

    def subscribed(self, job_id: str, after: int) -> contextlib.AbstractAsyncContextManager[Subscription]:
        """The events of a job with an id above `after`."""
        return self._subscribed(job_id, EventFilter(frozenset({job_id})), after)

    def subscribed_to(
        self, events: EventFilter, after: int | None
    ) -> contextlib.AbstractAsyncContextManager[Subscription]:
        """The events that match, whichever jobs they are of, with an id above `after`; None means from now on."""
        return self._subscribed(None, events, after)

    @property
    def num_subscribers(self) -> int:
        """How many clients follow a stream now; may be called from any thread."""
        return self._subscribers

    @contextlib.asynccontextmanager
    async def _subscribed(
        self, job_id: str | None, events: EventFilter, after: int | None
    ) -> AsyncIterator[Subscription]:
        self._subscribers += 1
        try:
            position = await self._latest_id() if after is None else after
            feed = self._feeds.setdefault(job_id, Feed(await self._follow()))
            feed.subscribers += 1
            try:
                yield Subscription(feed, self._replays, events, position, with_job=job_id is None)
            finally:
                feed.subscribers -= 1
                if not feed.subscribers:
                    del self._feeds[job_id]
        finally:
            self._subscribers -= 1

    async def _follow(self) -> int:
        """Have every event distributed that is committed from now on; the last one that has been."""
        if self._last_id is None:
            latest_id = await self._latest_id()
            # Another subscriber may have been faster.
            self._last_id = latest_id if self._last_id is None else self._last_id
        return self._last_id

    async def _run(self) -> None:
        while True:
            try:
                if not self._subscribers:
                    self._last_id = None
                elif self._last_id is not None:
                    events = await anyio.to_thread.run_sync(self._new_events, self._last_id, limiter=self._limiter)
                    await self._distribute(events)
            except Exception as error:  # the database may be available again at the next poll
                log.warning("new events are not available at the moment: %s", error)
            await asyncio.sleep(POLL_S)

    async def _latest_id(self) -> int:
        return await anyio.to_thread.run_sync(_latest_id, self.engine, limiter=self._limiter)

    def _new_events(self, last_id: int) -> list[StreamedEvent]:
        with reading(self.engine) as session:
            events = queries.events_after(session, last_id, BATCH)
        # Encoded here and not where they are distributed: meanwhile, the process answers requests.
        for event in events:
            if event.job_id in self._feeds:
                event.encoded  # noqa: B018
            if None in self._feeds:
                event.encoded_with_job  # noqa: B018
        return events

    async def _distribute(self, events: list[StreamedEvent]) -> None:
        self.num_distributed += len(events)
        changed: set[Feed] = set()
        max_bytes = MAX_BYTES // max(1, len(self._feeds))
        for event in events:
            self._last_id = event.id
            if feed := self._feeds.get(event.job_id):
                feed.add(event.encoded, max_bytes)
                changed.add(feed)
            if feed := self._feeds.get(None):
                feed.add(event.encoded_with_job, max_bytes)
                changed.add(feed)
        for feed in changed:
            await feed.wake()


def _latest_id(engine: Engine) -> int:
    with reading(engine) as session:
        return queries.latest_event_id(session)
