"""The events of a job as server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from app.db import reading
from app.streams import queries
from app.streams.hub import Hub
from app.streams.queries import StreamedEvent

HEARTBEAT_S = 15.0
REPLAY_BATCH = 1_000
# A proxy neither keeps a stream nor holds it back.
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def sse(hub: Hub, job_id: str, after: int) -> StreamingResponse:
    """A stream of a job's events with an id above `after`, stored and new ones, that ends with the job."""
    return StreamingResponse(_frames(hub, job_id, after), media_type="text/event-stream", headers=HEADERS)


async def _frames(hub: Hub, job_id: str, after: int) -> AsyncIterator[bytes]:
    async with hub.subscribed(job_id) as queue:
        yield b"retry: 1000\n\n"
        last_id = after
        while True:
            events, ended = await run_in_threadpool(_replay, hub.engine, job_id, last_id)
            for event in events:
                last_id = event.id
                yield frame(event.id, event.type, event.data)
            if not events:
                break
        # After a retry the job has not ended any more, although its stored events contain an end.
        while not ended:
            try:
                received = await asyncio.wait_for(queue.get(), HEARTBEAT_S)
            except TimeoutError:
                yield b": heartbeat\n\n"
                continue
            if received is None:
                return
            if received.id > last_id:
                last_id = received.id
                yield frame(received.id, received.type, received.data)
                ended = received.ends_job


def _replay(engine: Engine, job_id: str, after: int) -> tuple[list[StreamedEvent], bool]:
    """Stored events, and whether the job has ended."""
    with reading(engine) as session:
        # The state first: events that are committed after this read arrive through the queue.
        _, ended = queries.attempt_and_end(session, job_id)
        return queries.job_events_after(session, job_id, after, REPLAY_BATCH), ended


def frame(event_id: int, event_type: str, data: Mapping[str, Any]) -> bytes:
    """An event as a client reads it; it resumes after `event_id`."""
    return f"id: {event_id}\nevent: {event_type}\ndata: {json.dumps(data)}\n\n".encode()
