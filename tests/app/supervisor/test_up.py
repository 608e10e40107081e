"""When a part of the service that has ended is started again, and when Ctrl-C takes effect meanwhile."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from app.supervisor.up import Restarts, interrupt_deferred


def test_a_part_that_lived_is_started_at_once_however_often() -> None:
    restarts = Restarts()
    for at in (0.0, 20.0, 40.0, 60.0, 80.0, 100.0):
        assert restarts.plan(at) == 0
        assert restarts.is_due(at)


def test_a_part_that_keeps_ending_is_started_later_and_later_but_always() -> None:
    restarts, at, delays = Restarts(), 0.0, []
    for _ in range(9):
        delays.append(restarts.plan(at))
        assert not restarts.is_due(at + delays[-1] - 0.1)
        at += delays[-1]
        assert restarts.is_due(at)
        at += 1.0
    assert delays == [0, 0, 0, 1, 2, 4, 8, 10, 10]
    assert restarts.plan(at + 20) == 0


@pytest.fixture
def interruptible() -> Iterator[None]:
    """As in a terminal: the process of the tests ignores Ctrl-C if it was started in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_during_a_start_is_delivered_after_it() -> None:
    done = []

    def start() -> None:
        with interrupt_deferred():
            signal.raise_signal(signal.SIGINT)
            done.append("started")

    with pytest.raises(KeyboardInterrupt):
        start()
    assert done == ["started"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
