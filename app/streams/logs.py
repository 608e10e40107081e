"""The output of a job's attempts: the last lines, and on request whatever follows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from app.db import reading
from app.streams import queries
from core.run.rundir import RunDir

POLL_S = 0.3
TAIL_BLOCK_BYTES = 64 << 10
MAX_TAIL_BYTES = 16 << 20
READ_BYTES = 1 << 20


def log_response(
    engine: Engine, run_dir: Path, job_id: str, attempt: int, tail: int, *, follow: bool, single: bool
) -> Response:
    """The last `tail` lines of an attempt's output; with `follow` also new output, until the job has ended.

    Unless a `single` attempt was requested, the output of later attempts follows.
    """
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    text, position = _tail(RunDir(run_dir).attempt(attempt).log, tail)
    if not follow:
        return Response(text, media_type="text/plain; charset=utf-8", headers=headers)
    output = _follow(engine, run_dir, job_id, attempt, text, position, single)
    return StreamingResponse(output, media_type="text/plain; charset=utf-8", headers=headers)


def _tail(file: Path, lines: int) -> tuple[bytes, int]:
    """The last lines of a file, at most about `MAX_TAIL_BYTES` of them, and the size of the file."""
    try:
        with file.open("rb") as source:
            end = source.seek(0, 2)
            size, text = 0, b""
            while size < end and text.count(b"\n") <= lines and size < MAX_TAIL_BYTES:
                size = min(end, 2 * size or TAIL_BLOCK_BYTES)
                source.seek(end - size)
                text = source.read(size)
            kept = text.splitlines(keepends=True)[-lines:] if lines else []
            return b"".join(kept), end
    except FileNotFoundError:
        return b"", 0


async def _follow(
    engine: Engine, run_dir: Path, job_id: str, attempt: int, text: bytes, position: int, single: bool
) -> AsyncIterator[bytes]:
    yield text
    while True:
        # In this order: output from before the end of the job is in the file by now.
        latest, ended = await run_in_threadpool(_attempt_and_end, engine, job_id)
        new = await run_in_threadpool(_read_from, RunDir(run_dir).attempt(attempt).log, position)
        position += len(new)
        if new:
            yield new
        elif latest > attempt and not single:
            attempt, position = attempt + 1, 0
            yield f"--- attempt {attempt} ---\n".encode()
        elif ended or latest > attempt:
            return
        else:
            await asyncio.sleep(POLL_S)


def _attempt_and_end(engine: Engine, job_id: str) -> tuple[int, bool]:
    with reading(engine) as session:
        return queries.attempt_and_end(session, job_id)


def _read_from(file: Path, position: int) -> bytes:
    try:
        with file.open("rb") as source:
            source.seek(position)
            return source.read(READ_BYTES)
    except FileNotFoundError:
        return b""
