"""The stream of a job: from where it begins, and that it ends with the job."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import Engine

from app.db import reading, transaction
from app.models import Event, Job
from app.streams import queries, sse
from app.streams.hub import Hub
from app.streams.sse import frames

DEADLINE_S = 30.0
Added = tuple[str, dict[str, str]]
ENDED: Added = ("state", {"state": "succeeded"})
QUEUED: Added = ("state", {"state": "queued"})
LOG: Added = ("log", {})


@pytest.fixture
def engine(database: Engine) -> Engine:
    with transaction(database) as session:
        session.add(Job(id="a", kind="expert", name="", state="running", owner="x", spec={}, defaulted=[]))
    return database


def add(engine: Engine, *events: Added) -> None:
    with transaction(engine) as session:
        session.add_all(Event(job_id="a", type=type, data=data) for type, data in events)
        job = session.get(Job, "a")
        assert job is not None
        job.state = next((data["state"] for _, data in reversed(events) if "state" in data), job.state)


def opened(hub: Hub, after: int = 0) -> AsyncIterator[bytes]:
    with reading(hub.engine) as session:
        return frames(hub, "a", after, queries.snapshot(session, "a"))


async def rest(stream: AsyncIterator[bytes]) -> list[int]:
    """The ids of all further events of a stream that ends."""
    async with asyncio.timeout(DEADLINE_S):
        return [int(number) for number in re.findall(rb"id: (\d+)", b"".join([part async for part in stream]))]


@pytest.mark.parametrize(("after", "expected"), [(0, [1, 2, 3]), (2, [3]), (3, []), (10**17, [])])
def test_the_stream_of_a_job_that_has_ended_has_what_is_stored(engine: Engine, after: int, expected: list[int]) -> None:
    add(engine, QUEUED, LOG, ENDED)

    async def body() -> None:
        assert await rest(opened(Hub(engine), after)) == expected

    asyncio.run(body())


def test_an_end_before_a_retry_does_not_end_the_stream(engine: Engine) -> None:
    add(engine, QUEUED, ENDED)
    add(engine, QUEUED)

    async def body() -> None:
        hub = Hub(engine)
        await hub.start()
        stream = opened(hub)
        assert await anext(stream) == b"retry: 1000\n\n"
        assert (await anext(stream)).count(b"event: ") == 3
        await asyncio.to_thread(add, engine, LOG, ENDED)
        assert await rest(stream) == [4, 5]
        await hub.stop()
        assert hub._feeds == {}

    asyncio.run(body())


def test_an_end_after_the_request_ends_the_stream_even_if_it_is_stored_by_then(engine: Engine) -> None:
    add(engine, QUEUED)

    async def body() -> None:
        hub = Hub(engine)
        stream = opened(hub)
        add(engine, LOG, ENDED)
        assert await rest(stream) == [1, 2, 3]

    asyncio.run(body())


def test_an_idle_stream_has_heartbeats_and_ends_with_the_service(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "HEARTBEAT_S", 0.05)

    async def body() -> None:
        hub = Hub(engine)
        await hub.start()
        stream = opened(hub)
        assert await anext(stream) == b"retry: 1000\n\n"
        async with asyncio.timeout(DEADLINE_S):
            assert await anext(stream) == b": heartbeat\n\n"
            await hub.stop()
        assert await rest(stream) == []

    asyncio.run(body())
