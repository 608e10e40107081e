"""Stored events are read once for all who need them at a time, and never by all threads."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from sqlalchemy import Engine, insert
from sqlmodel import SQLModel
from starlette.concurrency import run_in_threadpool

from app.db import now, transaction
from app.models import Event, Job
from app.streams import replay
from app.streams.events import EventFilter
from app.streams.replay import Block, Replays

DEADLINE_S = 30.0
OF_JOB = EventFilter(frozenset({"job_1"}))


@pytest.fixture
def engine(database: Engine) -> Engine:
    # Core inserts: on a busy machine, those of objects idled for longer than a transaction may.
    rows = [{"job_id": "job_1", "time": now(), "type": "log", "data": {"number": k}} for k in range(2_000)]
    with transaction(database) as session:
        session.add(Job(id="job_1", kind="expert", name="", state="running", owner="x", spec={}, defaulted=[]))
        session.flush()
        session.connection().execute(insert(SQLModel.metadata.tables["events"]), rows)
    return database


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The positions after which blocks have been read."""
    read_block, after = replay.read_block, []

    def read(*args: Any) -> Block:
        after.append(args[2])
        return read_block(*args)

    monkeypatch.setattr(replay, "read_block", read)
    return after


def test_many_subscribers_share_the_blocks(engine: Engine, reads: list[int]) -> None:
    async def body() -> None:
        replays = Replays(engine)

        async def one() -> list[int]:
            found: list[int] = []
            position = 0
            while position < 2_000:
                block = await replays.read(OF_JOB, position, with_job=False)
                found += [event.id for event in block.events]
                position = block.position
            return found

        async with asyncio.timeout(DEADLINE_S):
            for found in await asyncio.gather(*(one() for _ in range(200))):
                assert found == list(range(1, 2_001))
            # And those who come a little later.
            await one()
        assert reads == [0, 500, 1_000, 1_500]

    asyncio.run(body())


def test_the_last_block_is_read_anew(engine: Engine, reads: list[int]) -> None:
    async def body() -> None:
        replays = Replays(engine)
        for _ in range(3):
            block = await replays.read(OF_JOB, 2_000, with_job=False)
            assert (block.events, block.position) == ([], 2_000)
        assert reads == [2_000] * 3
        assert replays._reads == {}

    asyncio.run(body())


def test_few_blocks_are_kept(engine: Engine) -> None:
    async def body() -> None:
        replays = Replays(engine)
        for position in range(100):
            await replays.read(OF_JOB, position, with_job=False)
        assert len(replays._reads) == replay.KEPT

    asyncio.run(body())


def test_blocks_are_short(engine: Engine) -> None:
    with transaction(engine) as session:
        session.add_all(Event(job_id="job_1", type="log", data={"text": "x" * 10_000}) for _ in range(100))

    block = replay.read_block(engine, OF_JOB, 2_000, False)
    assert block.is_full
    assert len(block.events) == 7
    assert block.position == 2_007


def test_reads_that_hang_hold_up_nothing_else(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    release, has_begun = threading.Event(), threading.Event()
    begun: list[int] = []

    def hang(*args: Any) -> Block:
        begun.append(args[2])
        has_begun.set()
        release.wait(DEADLINE_S)
        return Block([], 5_000, is_full=False)

    monkeypatch.setattr(replay, "read_block", hang)

    async def body() -> None:
        replays = Replays(engine)
        reads = [asyncio.create_task(replays.read(OF_JOB, k, with_job=False)) for k in range(200)]
        async with asyncio.timeout(DEADLINE_S):
            assert await asyncio.to_thread(has_begun.wait, DEADLINE_S)
            # As many as answer requests at the same time.
            assert await asyncio.gather(*(run_in_threadpool(lambda: 1) for _ in range(40))) == [1] * 40
            assert len(begun) <= replay.CONCURRENT
            release.set()
            await asyncio.gather(*reads)

    try:
        asyncio.run(body())
    finally:
        release.set()


def test_a_subscriber_that_leaves_does_not_end_the_read_of_the_others(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()

    def wait(*_: Any) -> Block:
        release.wait(DEADLINE_S)
        return Block([], 5_000, is_full=False)

    monkeypatch.setattr(replay, "read_block", wait)

    async def body() -> None:
        replays = Replays(engine)
        first, second = (asyncio.create_task(replays.read(OF_JOB, 0, with_job=False)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        release.set()
        async with asyncio.timeout(DEADLINE_S):
            assert (await second).position == 5_000

    try:
        asyncio.run(body())
    finally:
        release.set()
