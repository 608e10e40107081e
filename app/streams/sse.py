"""A job's events as server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from sqlalchemy import Engine
from sqlmodel import col, select
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from app.db import reading
from app.jobs.schemas import event_view
from app.models import TERMINAL_STATES, Event, Job
from app.streams.hub import Hub, Item

HEARTBEAT_S = 15.0


def sse(hub: Hub, job_id: str, after: int) -> StreamingResponse:
    """A job's events after an id, then those to come, until it has ended."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_events(hub, job_id, after), media_type="text/event-stream", headers=headers)


async def _events(hub: Hub, job_id: str, after: int) -> AsyncIterator[bytes]:
    with hub.subscribed(job_id) as queue:
        yield b"retry: 1000\n\n"
        last = after
        while True:
            rows, ended = await run_in_threadpool(_replay, hub.engine, job_id, last)
            for row in rows:
                last = row[0]
                yield _frame(row)
            if not rows:
                break
        # A job that ended says nothing more; one that was retried goes on.
        while not ended:
            try:
                item = await asyncio.wait_for(queue.get(), HEARTBEAT_S)
            except TimeoutError:
                yield b": still here\n\n"
                continue
            if item is None:
                return
            if item[0] > last:
                last = item[0]
                yield _frame(item)
                ended = item[1] == "state" and item[2]["data"].get("state") in TERMINAL_STATES


def _replay(engine: Engine, job_id: str, after: int) -> tuple[list[Item], bool]:
    with reading(engine) as session:
        # The state first: whatever comes later comes over the queue.
        state = session.exec(select(Job.state).where(Job.id == job_id)).first()
        query = select(Event).where(Event.job_id == job_id, col(Event.id) > after)
        rows = list(session.exec(query.order_by(col(Event.id)).limit(1_000)))
        return [(row.id or 0, row.type, event_view(row)) for row in rows], state is None or state in TERMINAL_STATES


def _frame(item: Item) -> bytes:
    number, kind, shown = item
    return f"id: {number}\nevent: {kind}\ndata: {json.dumps(shown['data'])}\n\n".encode()
