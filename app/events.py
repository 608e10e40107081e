"""Live streams: one reader of the event table for all subscribers, server-sent events, and followed logs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, func
from sqlmodel import col, select
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from app.db import reading
from app.jobs.schemas import event_view
from app.jobs.states import FINAL
from app.models import Event, Job

log = logging.getLogger(__name__)
POLL_S = 0.2
HEARTBEAT_S = 15.0
# A subscriber that falls this far behind is let go; it comes back with the id of the last event it has.
MAX_BEHIND = 2_000

Item = tuple[int, str, dict[str, Any]]


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
                ended = item[1] == "state" and item[2]["data"].get("state") in FINAL


def _replay(engine: Engine, job_id: str, after: int) -> tuple[list[Item], bool]:
    with reading(engine) as session:
        # The state first: whatever comes later comes over the queue.
        state = session.exec(select(Job.state).where(Job.id == job_id)).first()
        query = select(Event).where(Event.job_id == job_id, col(Event.id) > after)
        rows = list(session.exec(query.order_by(col(Event.id)).limit(1_000)))
        return [(row.id or 0, row.type, event_view(row)) for row in rows], state is None or state in FINAL


def _frame(item: Item) -> bytes:
    number, kind, shown = item
    return f"id: {number}\nevent: {kind}\ndata: {json.dumps(shown['data'])}\n\n".encode()


def log_stream(hub: Hub, run_dir: Path, job_id: str, attempt: int, tail: int, *, follow: bool, alone: bool) -> Response:
    """The last lines of an attempt's output; with `follow` also what comes, until the job has ended.

    It goes on with the attempts that come after unless the attempt is to be `alone`.
    """
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    text, position = _tail(_log(run_dir, attempt), tail)
    if not follow:
        return Response(text, media_type="text/plain; charset=utf-8", headers=headers)
    lines = _follow(hub, run_dir, job_id, attempt, text, position, alone)
    return StreamingResponse(lines, media_type="text/plain; charset=utf-8", headers=headers)


def _log(run_dir: Path, attempt: int) -> Path:
    return run_dir / f"attempt-{attempt}" / "log.txt"


def _tail(file: Path, lines: int) -> tuple[bytes, int]:
    """The last lines of a file, and its length."""
    try:
        with file.open("rb") as source:
            end = source.seek(0, 2)
            block, found = 65_536, b""
            start = end
            while start > 0 and found.count(b"\n") <= lines and len(found) < 16 << 20:
                start = max(0, start - block)
                source.seek(start)
                found = source.read(end - start)
            kept = found.splitlines(keepends=True)[-lines:] if lines else []
            return b"".join(kept), end
    except FileNotFoundError:
        return b"", 0


async def _follow(
    hub: Hub, run_dir: Path, job_id: str, attempt: int, text: bytes, position: int, alone: bool
) -> AsyncIterator[bytes]:
    yield text
    while True:
        newest, ended = await run_in_threadpool(_stand, hub.engine, job_id)
        new = await run_in_threadpool(_read_from, _log(run_dir, attempt), position)
        position += len(new)
        if new:
            yield new
        elif newest > attempt and not alone:
            attempt, position = attempt + 1, 0
            yield f"--- attempt {attempt} ---\n".encode()
        elif ended or newest > attempt:
            return
        else:
            await asyncio.sleep(0.3)


def _stand(engine: Engine, job_id: str) -> tuple[int, bool]:
    """A job's newest attempt, and whether the job has ended."""
    with reading(engine) as session:
        row = session.exec(select(Job.attempt, Job.state).where(Job.id == job_id)).first()
    return (0, True) if row is None else (row[0], row[1] in FINAL)


def _read_from(file: Path, position: int) -> bytes:
    try:
        with file.open("rb") as source:
            source.seek(position)
            return source.read(1 << 20)
    except FileNotFoundError:
        return b""
