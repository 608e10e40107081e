"""The events of many jobs as one stream of server-sent events, which does not end by itself."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from app.db import reading
from app.streams import queries
from app.streams.hub import Hub
from app.streams.queries import StreamedEvent
from app.streams.sse import HEADERS, HEARTBEAT_S, REPLAY_BATCH, frame
from app.streams.subscriptions import EventFilter
from app.streams.throttle import ProgressThrottle


def sse_of_jobs(hub: Hub, events: EventFilter, after: int | None) -> StreamingResponse:
    """A stream of the events that match: first the stored ones with an id above `after`, if given, then new ones."""
    return StreamingResponse(frames(hub, events, after), media_type="text/event-stream", headers=HEADERS)


async def frames(hub: Hub, events: EventFilter, after: int | None) -> AsyncIterator[bytes]:
    """The parts of the stream. Progress comes at most once per second and job."""
    throttle = ProgressThrottle()
    async with hub.subscribed_to(events) as subscription:
        yield b"retry: 1000\n\n"
        is_behind = after is not None
        last_id = await run_in_threadpool(_latest_id, hub.engine) if after is None else after
        sent_at = time.monotonic()
        while not subscription.is_closed:
            if is_behind:
                received = await run_in_threadpool(_replay, hub.engine, events, last_id)
                is_behind = len(received) == REPLAY_BATCH
            else:
                received, is_behind = await subscription.take(min(HEARTBEAT_S, throttle.seconds_until_due()))
            parts = []
            for event in received:
                if event.id > last_id:
                    last_id = event.id
                    if throttle.admit(event):
                        parts.append(_frame(event, last_id))
            # Late, so not with an id of its own: ids must rise for a client that resumes.
            parts += [_frame(event, last_id) for event in throttle.due()]
            if time.monotonic() - sent_at >= HEARTBEAT_S:
                parts.append(b": heartbeat\n\n")
            if parts:
                sent_at = time.monotonic()
                yield b"".join(parts)


def _latest_id(engine: Engine) -> int:
    with reading(engine) as session:
        return queries.latest_event_id(session)


def _replay(engine: Engine, events: EventFilter, after: int) -> list[StreamedEvent]:
    with reading(engine) as session:
        return queries.events_after(session, after, REPLAY_BATCH, jobs=events.jobs, types=events.types)


def _frame(event: StreamedEvent, event_id: int) -> bytes:
    return frame(event_id, event.type, {**event.data, "job": event.job_id})
