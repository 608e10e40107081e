"""Logs that are followed while a job moves from attempt to attempt."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from fastapi.responses import StreamingResponse
from sqlalchemy import update

from app.db import transaction
from app.models import Job, State
from app.streams.logs import log_stream
from tests.app.api import Service


async def _read(chunks: AsyncIterator[bytes], after_each: Callable[[int], None]) -> list[bytes]:
    received = []
    async for chunk in chunks:
        received.append(chunk)
        after_each(len(received))
    return received


def test_a_followed_log_continues_with_the_next_attempt(service: Service) -> None:
    job_id = service.submit()
    folder = service.settings.runs_dir / job_id
    for number, text in ((1, "one\n"), (2, "two\n")):
        (folder / f"attempt-{number}").mkdir(parents=True)
        (folder / f"attempt-{number}" / "log.txt").write_text(text)
    engine = service.app.state.engine

    def progress(count: int) -> None:
        if count == 1:
            with transaction(engine) as session:
                session.execute(update(Job).values(attempt=2))
        if count == 3:
            service.transition(job_id, State.cancelled)

    with transaction(engine) as session:
        session.execute(update(Job).values(attempt=1))
    answer = log_stream(service.app.state.hub, folder, job_id, 1, 10, follow=True, alone=False)
    assert isinstance(answer, StreamingResponse)
    received = asyncio.run(_read(answer.body_iterator, progress))  # type: ignore[arg-type]
    assert received == [b"one\n", b"--- attempt 2 ---\n", b"two\n"]
    answer = log_stream(service.app.state.hub, folder, job_id, 1, 10, follow=True, alone=True)
    assert asyncio.run(_read(answer.body_iterator, lambda _: None)) == [b"one\n"]  # type: ignore[attr-defined]
