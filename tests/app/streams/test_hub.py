"""The hub: a subscriber gets every event that was not stored when it subscribed, and all share the work."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from sqlalchemy import Engine, insert
from sqlmodel import SQLModel

from app.db import now, transaction
from app.streams.events import EventFilter
from app.streams.feed import Subscription
from app.streams.hub import Hub
from tests.app.api import Service


def add_events(engine: Engine, job_id: str, count: int) -> None:
    rows = [{"job_id": job_id, "time": now(), "type": "log", "data": {"number": k}} for k in range(count)]
    with transaction(engine) as session:
        session.connection().execute(insert(SQLModel.metadata.tables["events"]), rows)


async def received(subscription: Subscription, count: int) -> list[bytes]:
    """The frames of new log events, at least `count`."""
    found: list[bytes] = []
    async with asyncio.timeout(30):
        while len(found) < count:
            found += [event.frame for event in await subscription.next(1.0) if event.type == "log"]
    return found


def test_events_between_a_subscription_and_the_next_poll_arrive_however_many(service: Service) -> None:
    job_id = service.submit()

    async def receive() -> list[bytes]:
        hub = Hub(service.app.state.engine)
        await hub.start()
        async with hub.subscribed(job_id, 0) as subscription:
            add_events(service.app.state.engine, job_id, 300)
            found = await received(subscription, 300)
        await hub.stop()
        return found

    assert [frame.split(b'"number": ')[1] for frame in asyncio.run(receive())] == [b"%d}\n\n" % k for k in range(300)]


def test_a_hub_that_stops_ends_its_streams(service: Service) -> None:
    job_id = service.submit()

    async def stop() -> bool:
        hub = Hub(service.app.state.engine)
        await hub.start()
        async with hub.subscribed(job_id, 10**9) as subscription, asyncio.timeout(30):
            waiting = asyncio.create_task(subscription.next(3600))
            await asyncio.sleep(0)
            await hub.stop()
            await waiting
            return subscription.is_closed

    assert asyncio.run(stop())


def test_an_event_is_encoded_once_for_all_subscribers(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = service.submit()
    dumps, encoded = json.dumps, []

    def count(data: Any, **options: Any) -> str:
        encoded.append(data)
        return dumps(data, **options)

    monkeypatch.setattr(json, "dumps", count)

    async def receive() -> None:
        engine = service.app.state.engine
        hub = Hub(engine)
        await hub.start()
        latest = await hub._latest_id()
        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            is_open = asyncio.Semaphore(0)

            async def subscriber(of_all: bool) -> None:
                streams = hub.subscribed_to(EventFilter(), latest) if of_all else hub.subscribed(job_id, latest)
                async with streams as subscription:
                    is_open.release()
                    await received(subscription, 20)

            for number in range(40):
                tasks.create_task(subscriber(of_all=number % 2 == 0))
            for _ in range(40):
                await is_open.acquire()
            await asyncio.to_thread(add_events, engine, job_id, 20)
        await hub.stop()

    asyncio.run(receive())
    # In the stream of a job, and with the name of the job for the stream of all.
    assert sorted("job" in data for data in encoded if isinstance(data, dict) and "number" in data) == (
        [False] * 20 + [True] * 20
    )
