"""The output of attempts: the last lines, and following it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import update
from starlette.responses import StreamingResponse

from app.db import transaction
from app.models import Job, State
from app.streams.logs import log_response
from core.run.rundir import RunDir
from tests.app.api import Service


def set_attempt(service: Service, attempt: int) -> None:
    with transaction(service.app.state.engine) as session:
        session.execute(update(Job).values(attempt=attempt))


def write_logs(folder: Path) -> None:
    for number, text in ((1, "one\n"), (2, "two\n")):
        log = RunDir(folder).attempt(number).log
        log.parent.mkdir(parents=True)
        log.write_text(text)


def followed(service: Service, job_id: str, *, single: bool, then: Callable[[int], object]) -> list[str]:
    """What a follower of the first attempt gets; `then` is called with the number of blocks so far."""
    engine, folder = service.app.state.engine, service.settings.runs_dir / job_id
    response = log_response(engine, folder, job_id, 1, 10, follow=True, single=single)
    assert isinstance(response, StreamingResponse)

    async def collect() -> list[str]:
        blocks: list[str] = []
        async for block in response.body_iterator:
            assert isinstance(block, bytes)
            blocks.append(block.decode())
            then(len(blocks))
        return blocks

    return asyncio.run(collect())


def test_a_followed_log_continues_with_the_next_attempt(service: Service) -> None:
    job_id = service.submit()
    write_logs(service.settings.runs_dir / job_id)
    set_attempt(service, 1)

    def happen(count: int) -> None:
        if count == 1:
            set_attempt(service, 2)
        if count == 3:
            service.transition(job_id, State.cancelled)

    assert followed(service, job_id, single=False, then=happen) == ["one\n", "--- attempt 2 ---\n", "two\n"]


def test_a_followed_log_of_a_single_attempt_ends_with_it(service: Service) -> None:
    job_id = service.submit()
    write_logs(service.settings.runs_dir / job_id)
    set_attempt(service, 2)
    assert followed(service, job_id, single=True, then=lambda _: None) == ["one\n"]


def test_the_tail_has_as_many_lines_as_requested(service: Service) -> None:
    job_id = service.submit()
    write_logs(service.settings.runs_dir / job_id)
    set_attempt(service, 1)
    lines = [f"line {number}\n" for number in range(50_000)]
    RunDir(service.settings.runs_dir / job_id).attempt(1).log.write_text("".join(lines))
    for count in (0, 1, 10_000, 50_000, 99_999):
        text = service.get(f"/jobs/{job_id}/logs?tail={count}").text
        assert text == "".join(lines[max(0, len(lines) - count) :]), count
