"""The stream of the events of many jobs: what it sends, from where it resumes, and that it does not end by itself."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Engine

from app.db import now, transaction
from app.jobs.event_queries import record_events
from app.models import Job
from app.streams import all_jobs, feed, replay
from app.streams import hub as hubs
from app.streams.all_jobs import frames
from app.streams.events import EventFilter
from app.streams.hub import Hub
from tests.app.api import Service

DEADLINE_S = 30.0
EVERYTHING = EventFilter()


class Frame(NamedTuple):
    id: int
    type: str
    data: dict[str, Any]


@pytest.fixture
def engine(database: Engine) -> Engine:
    with transaction(database) as session:
        for name in ("a", "b", "c"):
            session.add(Job(id=name, kind="expert", name="", state="running", owner="x", spec={}, defaulted=[]))
    return database


def add(engine: Engine, job_id: str, type: str = "metrics", count: int = 1, **data: Any) -> None:
    with transaction(engine) as session:
        record_events(
            session, [{"job_id": job_id, "time": now(), "type": type, "data": {"step": k} | data} for k in range(count)]
        )


async def received(stream: AsyncIterator[bytes], count: int) -> list[Frame]:
    """The next events of a stream, at least `count`."""
    found: list[Frame] = []
    async with asyncio.timeout(DEADLINE_S):
        while len(found) < count:
            for part in (await anext(stream)).decode().split("\n\n"):
                lines = dict(line.split(": ", 1) for line in part.splitlines())
                if "event" in lines:
                    found.append(Frame(int(lines["id"]), lines["event"], json.loads(lines["data"])))
    return found


def streaming(engine: Engine, body: Callable[[Hub], Coroutine[Any, Any, None]]) -> None:
    """Runs `body` while a hub polls."""

    async def run() -> None:
        hub = Hub(engine)
        await hub.start()
        try:
            await body(hub)
        finally:
            await hub.stop()

    asyncio.run(run())


async def opened(hub: Hub, events: EventFilter, after: int | None) -> AsyncIterator[bytes]:
    """A stream that has read where it begins: what is added from here on is new to it."""
    add(hub.engine, "c", "log", marker=True)
    stream = frames(hub, events, after)
    assert await anext(stream) == b"retry: 1000\n\n"
    return stream


def test_new_events_of_all_jobs_come_with_their_job(engine: Engine) -> None:
    add(engine, "a", "state", count=5)

    async def body(hub: Hub) -> None:
        stream = await opened(hub, EVERYTHING, None)
        first = asyncio.create_task(received(stream, 2))
        await asyncio.sleep(0)
        while not first.done():
            await asyncio.to_thread(add, engine, "a", "state", state="failed")
            await asyncio.to_thread(add, engine, "b")
            await asyncio.sleep(0.1)
        frames_ = first.result()
        assert {frame.data["job"] for frame in frames_} <= {"a", "b"}
        assert [frame.id for frame in frames_] == sorted({frame.id for frame in frames_})
        # The end of a job does not end the stream.
        await asyncio.to_thread(add, engine, "b", "log")
        assert await received(stream, 1)

    streaming(engine, body)


def test_the_very_first_event_comes(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    latest_id, has_begun = hubs._latest_id, threading.Event()

    def begin(*args: Any) -> int:
        found = latest_id(*args)
        has_begun.set()
        return found

    monkeypatch.setattr(hubs, "_latest_id", begin)

    async def body(hub: Hub) -> None:
        stream = frames(hub, EVERYTHING, None)
        await anext(stream)
        first = asyncio.create_task(received(stream, 1))
        assert await asyncio.to_thread(has_begun.wait, DEADLINE_S)
        await asyncio.to_thread(add, engine, "a")
        assert [frame.data["job"] for frame in await first] == ["a"]

    streaming(engine, body)


def test_a_stream_resumes_after_an_event_and_keeps_to_its_filter(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "BLOCK_EVENTS", 3)
    add(engine, "a", count=10)
    add(engine, "b", count=10)
    add(engine, "a", "log")

    async def body(hub: Hub) -> None:
        stream = await opened(hub, EventFilter(frozenset({"a", "c"}), frozenset({"metrics"})), 4)
        frames_ = await received(stream, 6)
        assert [frame.id for frame in frames_] == [5, 6, 7, 8, 9, 10]
        assert {(frame.type, frame.data["job"]) for frame in frames_} == {("metrics", "a")}
        await asyncio.to_thread(add, engine, "b")
        await asyncio.to_thread(add, engine, "c", count=2)
        assert [frame.data for frame in await received(stream, 2)] == [{"step": k, "job": "c"} for k in range(2)]

    streaming(engine, body)


def test_a_reader_that_falls_behind_reads_the_table_and_misses_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "MAX_EVENTS", 4)

    async def body(hub: Hub) -> None:
        stream = await opened(hub, EVERYTHING, 0)
        await received(stream, 1)
        await asyncio.to_thread(add, engine, "a", "metrics", 50)
        frames_ = await received(stream, 50)
        assert [frame.data["step"] for frame in frames_] == list(range(50))

    streaming(engine, body)


def test_progress_comes_once_per_second_and_its_ids_rise(engine: Engine) -> None:
    async def body(hub: Hub) -> None:
        stream = await opened(hub, EVERYTHING, 0)
        await received(stream, 1)
        began = time.monotonic()
        await asyncio.to_thread(add, engine, "a", "progress", 20)
        await asyncio.to_thread(add, engine, "b", "progress", 1)
        await asyncio.to_thread(add, engine, "a", "metrics", 1)
        frames_ = await received(stream, 4)
        of_a = [frame.data["step"] for frame in frames_ if (frame.type, frame.data["job"]) == ("progress", "a")]
        assert of_a == [0, 19]
        assert time.monotonic() - began >= 1.0
        assert [frame.id for frame in frames_] == sorted(frame.id for frame in frames_)

    streaming(engine, body)


def test_an_idle_stream_has_heartbeats_and_ends_with_the_service(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(all_jobs, "HEARTBEAT_S", 0.05)

    async def body(hub: Hub) -> None:
        stream = await opened(hub, EVERYTHING, None)
        async with asyncio.timeout(DEADLINE_S):
            assert await anext(stream) == b": heartbeat\n\n"
            await hub.stop()
            assert [part async for part in stream if b"event" in part] == []
        assert hub._feeds == {}

    streaming(engine, body)


@pytest.mark.parametrize("source", ["header", "query", "both"])
def test_the_route_resumes_after_the_last_event_of_the_header_or_of_the_query(
    service: Service, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    first, second = service.submit(), service.submit()
    [event] = service.get(f"/jobs/{first}/events").json()["items"]
    query = {"header": "", "query": f"&last_event_id={event['id']}", "both": "&last_event_id=0"}[source]
    headers = {} if source == "query" else {"Last-Event-ID": str(event["id"])}
    hub = service.app.state.hub
    portal: Any = service.http.portal
    read_block, is_replayed = replay.read_block, threading.Event()

    def replayed(*args: Any) -> Any:
        is_replayed.set()
        return read_block(*args)

    def stop_when_replayed() -> None:
        is_replayed.wait(DEADLINE_S)
        portal.call(hub.stop)

    monkeypatch.setattr(replay, "read_block", replayed)
    stopping = threading.Thread(target=stop_when_replayed)
    stopping.start()
    answer = service.get(f"/events?job={first}&job={second}&type=state{query}", headers=headers)
    stopping.join()
    assert (answer.status_code, answer.headers["content-type"][:17]) == (200, "text/event-stream")
    assert [line for line in answer.text.splitlines() if line.startswith("data")] == [
        f'data: {{"state": "queued", "reason": null, "message": null, "job": "{second}"}}'
    ]
