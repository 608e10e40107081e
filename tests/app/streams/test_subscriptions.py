"""A subscription keeps what matches, and no more than its bound."""

from __future__ import annotations

import asyncio

import pytest

from app.streams import subscriptions
from app.streams.queries import StreamedEvent
from app.streams.subscriptions import EventFilter, Subscription


def event(number: int, job_id: str = "job_1", type: str = "metrics") -> StreamedEvent:
    return StreamedEvent(job_id, number, type, {})


def take(subscription: Subscription) -> tuple[list[int], bool]:
    events, has_missed = asyncio.run(subscription.take(0.01))
    return [event.id for event in events], has_missed


def test_only_what_matches_waits() -> None:
    subscription = Subscription(EventFilter(frozenset({"job_1"}), frozenset({"state"})))
    for given in (event(1), event(2, type="state"), event(3, "job_2", "state")):
        subscription.put(given)
    assert take(subscription) == ([2], False)
    assert take(subscription) == ([], False)


def test_a_reader_that_is_too_slow_learns_that_it_has_missed_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "MAX_WAITING", 5)
    subscription = Subscription(EventFilter())
    for number in range(5):
        subscription.put(event(number))
    assert take(subscription) == ([0, 1, 2, 3, 4], False)
    for number in range(1_000):
        subscription.put(event(number))
        assert len(subscription._waiting) <= 5
    assert take(subscription) == ([], True)
    subscription.put(event(1_000))
    assert take(subscription) == ([1_000], False)
