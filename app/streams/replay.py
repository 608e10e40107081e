"""Reads stored events for streams: a block once for all subscribers that need it, and few blocks at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import anyio
from sqlalchemy import Engine

from app.db import reading
from app.streams import queries
from app.streams.events import PART_BYTES, EncodedEvent, EventFilter

BLOCK_EVENTS = 500
# Blocks that are read at the same time, in threads of their own: those that answer requests stay free.
CONCURRENT = 2
# Full blocks that are kept for subscribers that come a little later.
KEPT = 16


class Block(NamedTuple):
    """All stored events that match a filter, from an id up to and including `position`."""

    events: Sequence[EncodedEvent]
    position: int
    is_full: bool


Key = tuple[EventFilter, int, bool]


class Replays:
    """Stored events by filter and position."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._limiter = anyio.CapacityLimiter(CONCURRENT)
        self._reads: dict[Key, asyncio.Task[Block]] = {}
        self._kept: deque[Key] = deque()

    async def read(self, events: EventFilter, after: int, *, with_job: bool) -> Block:
        """The next block of events with an id above `after`.

        It has everything that was committed when it was read, which may have begun before the call.
        """
        key = (events, after, with_job)
        if key not in self._reads:
            self._reads[key] = asyncio.create_task(self._read(key))
        # A subscriber that goes away does not end what others wait for.
        return await asyncio.shield(self._reads[key])

    async def _read(self, key: Key) -> Block:
        is_kept = False
        try:
            block = await anyio.to_thread.run_sync(read_block, self._engine, *key, limiter=self._limiter)
            is_kept = block.is_full
            return block
        finally:
            # Nothing will be added to a full block, whereas another one has to be read anew next time.
            if is_kept:
                self._kept.append(key)
            else:
                del self._reads[key]
            while len(self._kept) > KEPT:
                del self._reads[self._kept.popleft()]


def read_block(engine: Engine, events: EventFilter, after: int, with_job: bool) -> Block:
    """Reads and encodes up to `BLOCK_EVENTS` events of about `PART_BYTES`."""
    with reading(engine) as session:
        # Before the events: whatever is committed in between is among them.
        latest_id = queries.latest_event_id(session)
        stored = queries.events_after(session, after, BLOCK_EVENTS, jobs=events.jobs, types=events.types)
    encoded: list[EncodedEvent] = []
    size = 0
    for event in stored:
        encoded.append(event.encoded_with_job if with_job else event.encoded)
        size += len(encoded[-1].frame)
        if size > PART_BYTES:
            break
    if size > PART_BYTES or len(stored) == BLOCK_EVENTS:
        return Block(encoded, encoded[-1].id, is_full=True)
    return Block(encoded, max(after, latest_id, *(event.id for event in encoded)), is_full=False)
