"""The output of a job's attempts: the last lines, and on request whatever follows; or a window by byte offset."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from app.db import reading
from app.streams import queries
from app.streams.log_windows import Window, read_window
from app.streams.sse import HEADERS
from core.run.rundir import RunDir

POLL_S = 0.3
TAIL_BLOCK_BYTES = 64 << 10
MAX_TAIL_BYTES = 16 << 20
READ_BYTES = 1 << 20
MEDIA_TYPE = "text/plain; charset=utf-8"


def log_response(
    engine: Engine, run_dir: Path, job_id: str, attempt: int, tail: int, *, follow: bool, single: bool
) -> Response:
    """The last `tail` lines of an attempt's output; with `follow` also new output, until the job has ended.

    Unless a `single` attempt was requested, the output of later attempts follows.
    """
    text, position = _tail(RunDir(run_dir).attempt(attempt).log, tail)
    if not follow:
        return _offset_response(Window(text, position - len(text), position, position))
    output = _follow(engine, run_dir, job_id, attempt, text, position, single)
    return StreamingResponse(output, media_type=MEDIA_TYPE, headers=HEADERS)


def window_response(run_dir: Path, attempt: int, at: int, count: int) -> Response:
    """About `count` bytes of an attempt's output from the beginning of the line that contains byte `at`."""
    return _offset_response(read_window(RunDir(run_dir).attempt(attempt).log, at, count))


def _offset_response(window: Window) -> Response:
    offsets = {"X-Log-Start": window.start, "X-Log-End": window.end, "X-Log-Size": window.size}
    headers = HEADERS | {name: str(offset) for name, offset in offsets.items()}
    return Response(window.text, media_type=MEDIA_TYPE, headers=headers)


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
