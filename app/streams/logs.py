"""The output of a job's attempts: the last lines, and what follows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from sqlalchemy import Engine
from sqlmodel import select
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from app.db import reading
from app.models import TERMINAL_STATES, Job
from app.streams.hub import Hub


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
    return (0, True) if row is None else (row[0], row[1] in TERMINAL_STATES)


def _read_from(file: Path, position: int) -> bytes:
    try:
        with file.open("rb") as source:
            source.seek(position)
            return source.read(1 << 20)
    except FileNotFoundError:
        return b""
