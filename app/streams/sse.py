"""The events of a job as server-sent events."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from starlette.responses import StreamingResponse

from app.streams.hub import Hub
from app.streams.queries import Snapshot

HEARTBEAT_S = 15.0
HEARTBEAT = b": heartbeat\n\n"
# A proxy neither keeps a stream nor holds it back.
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def sse(hub: Hub, job_id: str, after: int, job: Snapshot) -> StreamingResponse:
    """A stream of a job's events with an id above `after`, stored and new ones, that ends with the job."""
    return StreamingResponse(frames(hub, job_id, after, job), media_type="text/event-stream", headers=HEADERS)


async def frames(hub: Hub, job_id: str, after: int, job: Snapshot) -> AsyncIterator[bytes]:
    """The parts of the stream; `job` was read before."""
    async with hub.subscribed(job_id, after) as subscription:
        yield b"retry: 1000\n\n"
        sent_at = time.monotonic()
        while not subscription.is_closed and not (job.has_ended and subscription.position >= job.last_id):
            events = await subscription.next(HEARTBEAT_S)
            if events:
                yield b"".join(event.frame for event in events)
            elif time.monotonic() - sent_at >= HEARTBEAT_S:
                yield HEARTBEAT
            else:
                continue
            sent_at = time.monotonic()
            # After a retry the job has not ended any more, although its stored events contain an end.
            if any(event.ends_job and event.id > job.last_id for event in events):
                return
