"""Progress comes at most once per second and job, and the newest of it always comes."""

from __future__ import annotations

import math

import pytest

from app.streams.events import EncodedEvent, StreamedEvent
from app.streams.throttle import ProgressThrottle


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def progress(number: int, job_id: str = "job_1", type: str = "progress") -> EncodedEvent:
    return StreamedEvent(job_id, number, type, {}).encoded


def test_the_newest_progress_that_is_held_back_is_due_after_a_second(clock: Clock) -> None:
    throttle = ProgressThrottle(clock)
    assert throttle.seconds_until_due() == math.inf
    assert throttle.admit(progress(1))
    assert throttle.admit(progress(2, "job_2"))
    clock.now += 0.25
    assert not throttle.admit(progress(3))
    assert not throttle.admit(progress(4))
    assert (throttle.due(), throttle.seconds_until_due()) == ([], 0.75)
    clock.now += 0.75
    assert [event.id for event in throttle.due()] == [4]
    assert not throttle.admit(progress(5))
    clock.now += 1.0
    # What is newer than the held one replaces it.
    assert throttle.admit(progress(6))
    assert throttle.due() == []


def test_other_events_pass_and_a_change_of_state_drops_the_progress_before_it(clock: Clock) -> None:
    throttle = ProgressThrottle(clock)
    assert throttle.admit(progress(1))
    assert not throttle.admit(progress(2))
    assert throttle.admit(progress(3, type="metrics"))
    assert throttle.admit(progress(4, type="state"))
    clock.now += 5.0
    assert throttle.due() == []


def test_jobs_are_forgotten_after_a_second(clock: Clock) -> None:
    throttle = ProgressThrottle(clock)
    for number in range(1_000):
        assert throttle.admit(progress(number, f"job_{number}"))
    clock.now += 1.0
    assert throttle.due() == []
    assert (throttle._sent_at, throttle._held) == ({}, {})
