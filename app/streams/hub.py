"""One reader of the event table for all subscribers of live events."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from sqlalchemy import Engine, func
from sqlmodel import col, select
from starlette.concurrency import run_in_threadpool

from app.db import reading
from app.jobs.schemas import EventView, event_view
from app.models import Event

log = logging.getLogger(__name__)
POLL_S = 0.2
HEARTBEAT_S = 15.0
# A subscriber that falls this far behind is let go; it comes back with the id of the last event it has.
MAX_BEHIND = 2_000

Item = tuple[int, str, EventView]


class Hub:
    """Reads new events once and hands them to every subscriber of their job."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._queues: dict[str, set[asyncio.Queue[Item | None]]] = {}
        self._task: asyncio.Task[None] | None = None
        self._last = 0

    async def start(self) -> None:
        """Begins to read."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Ends every stream."""
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        for queues in self._queues.values():
            for queue in queues:
                queue.put_nowait(None)

    @contextlib.contextmanager
    def subscribed(self, job_id: str) -> Any:
        """A queue of a job's events from now on; None in it is the end."""
        queue: asyncio.Queue[Item | None] = asyncio.Queue()
        self._queues.setdefault(job_id, set()).add(queue)
        try:
            yield queue
        finally:
            self._queues[job_id].discard(queue)
            if not self._queues[job_id]:
                del self._queues[job_id]

    async def _run(self) -> None:
        while True:
            try:
                if not self._queues:
                    self._last = 0
                elif self._last == 0:
                    self._last = await run_in_threadpool(self._newest)
                else:
                    self._hand_out(await run_in_threadpool(self._after, self._last))
            except Exception as error:  # a database that cannot be reached now can be later
                log.warning("events cannot be read at the moment: %s", error)
            await asyncio.sleep(POLL_S)

    def _newest(self) -> int:
        # A little before the newest: what a subscriber has read already it passes over.
        with reading(self.engine) as session:
            return max(1, (session.exec(select(func.max(Event.id))).one() or 0) - 100)

    def _after(self, last: int) -> list[tuple[str, Item]]:
        with reading(self.engine) as session:
            rows = session.exec(select(Event).where(col(Event.id) > last).order_by(col(Event.id)).limit(5_000))
            return [(row.job_id, (row.id or 0, row.type, event_view(row))) for row in rows]

    def _hand_out(self, items: list[tuple[str, Item]]) -> None:
        for job_id, item in items:
            self._last = item[0]
            for queue in self._queues.get(job_id, ()):
                if queue.qsize() < MAX_BEHIND:
                    queue.put_nowait(item)
                else:
                    queue.put_nowait(None)
