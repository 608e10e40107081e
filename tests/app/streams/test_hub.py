"""The hub: a subscriber gets every event that was not stored when it subscribed."""

from __future__ import annotations

import asyncio

from sqlalchemy import insert
from sqlmodel import SQLModel

from app.db import now, transaction
from app.streams.hub import Hub
from tests.app.api import Service


def add_events(service: Service, job_id: str, count: int) -> None:
    rows = [{"job_id": job_id, "time": now(), "type": "log", "data": {"number": k}} for k in range(count)]
    with transaction(service.app.state.engine) as session:
        session.connection().execute(insert(SQLModel.metadata.tables["events"]), rows)


def test_events_between_a_subscription_and_the_next_poll_arrive_however_many(service: Service) -> None:
    job_id = service.submit()

    async def receive() -> list[int]:
        hub = Hub(service.app.state.engine)
        await hub.start()
        async with hub.subscribed(job_id) as queue:
            add_events(service, job_id, 300)
            async with asyncio.timeout(20):
                events = [await queue.get() for _ in range(300)]
        await hub.stop()
        return [event.data["number"] for event in events if event is not None]

    assert asyncio.run(receive()) == list(range(300))


def test_a_hub_that_stops_ends_its_streams(service: Service) -> None:
    job_id = service.submit()

    async def receive() -> object:
        hub = Hub(service.app.state.engine)
        await hub.start()
        async with hub.subscribed(job_id) as queue:
            await hub.stop()
            return queue.get_nowait()

    assert asyncio.run(receive()) is None
