"""The events of many jobs as one stream of server-sent events, which does not end by itself."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from starlette.responses import StreamingResponse

from app.streams.events import EventFilter
from app.streams.hub import Hub
from app.streams.sse import HEADERS, HEARTBEAT, HEARTBEAT_S
from app.streams.throttle import ProgressThrottle


def sse_of_jobs(hub: Hub, events: EventFilter, after: int | None) -> StreamingResponse:
    """A stream of the events that match: first the stored ones with an id above `after`, if given, then new ones."""
    return StreamingResponse(frames(hub, events, after), media_type="text/event-stream", headers=HEADERS)


async def frames(hub: Hub, events: EventFilter, after: int | None) -> AsyncIterator[bytes]:
    """The parts of the stream. Progress comes at most once per second and job."""
    throttle = ProgressThrottle()
    async with hub.subscribed_to(events, after) as subscription:
        yield b"retry: 1000\n\n"
        sent_at = time.monotonic()
        while not subscription.is_closed:
            received = await subscription.next(min(HEARTBEAT_S, throttle.seconds_until_due()))
            parts = [event.frame for event in received if throttle.admit(event)]
            # Late, so not with an id of its own: ids must rise for a client that resumes.
            parts += [event.frame_with_id(subscription.position) for event in throttle.due()]
            if time.monotonic() - sent_at >= HEARTBEAT_S:
                parts.append(HEARTBEAT)
            if parts:
                sent_at = time.monotonic()
                yield b"".join(parts)
