"""A feed keeps what its bounds allow, and a subscriber that is behind misses nothing that matters."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest
from sqlalchemy import Engine

from app.db import transaction
from app.models import Event, Job
from app.streams import events, feed
from app.streams.events import EncodedEvent, EventFilter, StreamedEvent, coalesce
from app.streams.feed import Feed, Subscription
from app.streams.replay import Replays

PLENTY = 1 << 30


def event(number: int, type: str = "log", job_id: str = "job_1", **data: Any) -> EncodedEvent:
    return StreamedEvent(job_id, number, type, {"number": number} | data).encoded


def ids(found: Sequence[EncodedEvent]) -> list[int]:
    return [one.id for one in found]


def run(body: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(body, 30))


def subscription(feed: Feed, engine: Engine, position: int = 0, **given: Any) -> Subscription:
    return Subscription(feed, Replays(engine), EventFilter(**given), position, with_job=False)


@pytest.fixture
def engine(database: Engine) -> Engine:
    with transaction(database) as session:
        session.add(Job(id="job_1", kind="expert", name="", state="running", owner="x", spec={}, defaulted=[]))
    return database


def test_a_subscriber_gets_what_matches(engine: Engine) -> None:
    async def body() -> None:
        shared = Feed(0)
        reader = subscription(shared, engine, jobs=frozenset({"job_1"}), types=frozenset({"state"}))
        for given in (event(1), event(2, "state"), event(3, "state", "job_2")):
            shared.add(given, PLENTY)
        assert ids(await reader.next(1.0)) == [2]
        assert reader.position == 3
        assert ids(await reader.next(0.01)) == []

    run(body())


@pytest.mark.parametrize("bound", ["events", "bytes"])
def test_a_feed_is_bounded_however_slow_its_subscribers_are(monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    monkeypatch.setattr(feed, "MAX_EVENTS", 50 if bound == "events" else PLENTY)
    max_bytes = PLENTY if bound == "events" else 50 * len(event(1000).frame)
    shared = Feed(0)
    for number in range(1_000, 2_000):
        shared.add(event(number), max_bytes)
        assert len(shared.after(0)) <= 50
    assert ids(shared.after(0)) == list(range(1_950, 2_000))
    assert shared.start == 1_949
    assert shared._bytes == sum(len(one.frame) for one in shared._events)


def test_a_subscriber_is_handed_little_at_a_time_and_keeps_nothing(engine: Engine) -> None:
    async def body() -> None:
        shared = Feed(0)
        reader = subscription(shared, engine)
        for number in range(1, 1_001):
            shared.add(event(number, message="x" * 1_000), PLENTY)
        found: list[int] = []
        while len(found) < 1_000:
            part = await reader.next(1.0)
            assert sum(len(one.frame) for one in part) <= events.PART_BYTES
            found += ids(part)
        assert found == list(range(1, 1_001))

    run(body())


def test_coalescing_keeps_the_newest_progress_the_latest_metrics_and_everything_else() -> None:
    stored: list[EncodedEvent] = []
    for number in range(0, 600, 6):
        stored += [
            event(number, "progress"),
            event(number + 1, "metrics", values={"train/loss": number, "lr/head": 1}),
            event(number + 2, "metrics", values={"val/accuracy": number}),
            event(number + 3, ("state", "log", "component", "rung")[number // 6 % 4]),
            event(number + 4, "progress", "job_2"),
            event(number + 5, "metrics", "job_2", values={"train/loss": number, "lr/head": 1}),
        ]
    found = coalesce(stored)
    important = [one.id for one in stored if one.type not in ("progress", "metrics")]
    assert [one.id for one in found if one.type not in ("progress", "metrics")] == important
    assert [one.id for one in found if one.type in ("progress", "metrics")] == [594, 595, 596, 598, 599]
    assert ids(found) == sorted(ids(found))
    # What a client merges from them is what it would have without coalescing.
    assert _merged(found) == _merged(stored)


def _merged(found: Sequence[EncodedEvent]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for one in found:
        data = json.loads(one.frame.split(b"data: ")[1])
        values |= {f"{one.job_id} {name}": value for name, value in data.get("values", {}).items()}
    return values


def test_a_few_waiting_events_are_not_coalesced() -> None:
    stored = [event(number, "progress") for number in range(events.BEHIND)]
    assert coalesce(stored) == stored


def test_a_subscriber_that_has_fallen_out_of_the_feed_gets_every_state_from_the_database(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "MAX_EVENTS", 10)
    types = ["state" if number % 100 == 0 else "progress" for number in range(1, 1_501)]
    with transaction(engine) as session:
        session.add_all(Event(job_id="job_1", type=type, data={}) for type in types)

    async def body() -> None:
        shared = Feed(0)
        reader = subscription(shared, engine)
        assert ids(await reader.next(0.01)) == []
        for number, type in enumerate(types, 1):
            shared.add(event(number, type), PLENTY)
        found: list[EncodedEvent] = []
        while reader.position < len(types):
            found += await reader.next(1.0)
        assert [one.id for one in found if one.type == "state"] == list(range(100, 1_501, 100))
        assert ids(found) == sorted(ids(found))
        # It was behind: of the progress in a block, only the newest is sent.
        assert len(found) < 100

    run(body())


def test_a_subscriber_that_resumes_gets_all_stored_events(engine: Engine) -> None:
    with transaction(engine) as session:
        session.add_all(Event(job_id="job_1", type="progress", data={}) for _ in range(1_500))

    async def body() -> None:
        reader = subscription(Feed(1_500), engine, 3)
        found: list[int] = []
        while reader.position < 1_500:
            found += ids(await reader.next(1.0))
        assert found == list(range(4, 1_501))

    run(body())
