"""Answers are made a few at a time and in order, and none waits long for others that hang."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app.http import in_turn
from app.http.in_turn import AT_A_TIME, InTurn
from app.jobs import routes
from tests.app.api import Service

LIMIT_S = 20.0


def test_answers_are_made_a_few_at_a_time_in_the_order_in_which_they_came(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_turn, "PATIENCE_S", 10 * LIMIT_S)
    begun: list[int] = []
    may_end = [threading.Event() for _ in range(5 * AT_A_TIME)]

    def make(number: int) -> int:
        begun.append(number)
        assert may_end[number].wait(LIMIT_S)
        return -number

    async def make_all() -> list[int]:
        answers = InTurn()
        made = [asyncio.create_task(answers.run(make, number)) for number in range(len(may_end))]
        for number, event in enumerate(may_end):
            async with asyncio.timeout(LIMIT_S):
                while len(begun) < min(number + AT_A_TIME, len(may_end)):
                    await asyncio.sleep(0)
            assert sorted(begun) == list(range(min(number + AT_A_TIME, len(may_end))))
            event.set()
            await made[number]
        return await asyncio.gather(*made)

    assert asyncio.run(make_all()) == [-number for number in range(len(may_end))]


def test_an_answer_does_not_wait_for_those_that_hang_and_errors_give_the_slot_back() -> None:
    may_end = threading.Event()

    async def make() -> None:
        answers = InTurn()
        for _ in range(2 * AT_A_TIME):
            with pytest.raises(ZeroDivisionError):
                await answers.run(divmod, 1, 0)
        hanging = [asyncio.create_task(answers.run(may_end.wait, LIMIT_S)) for _ in range(AT_A_TIME)]
        try:
            async with asyncio.timeout(LIMIT_S):
                assert await answers.run(divmod, 7, 2) == (3, 1)
            assert not any(task.done() for task in hanging)
        finally:
            may_end.set()
        assert await asyncio.gather(*hanging) == [True] * AT_A_TIME

    asyncio.run(make())


def test_lists_of_jobs_are_made_in_turn(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_turn, "PATIENCE_S", 10 * LIMIT_S)
    together, running, most = threading.Barrier(AT_A_TIME), 0, 0
    lock = threading.Lock()

    def make(*_args: Any, **_page: Any) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        together.wait(LIMIT_S)
        with lock:
            running -= 1
        return '{"items":[],"next_cursor":null}'

    monkeypatch.setattr(routes, "list_jobs_as_json", make)
    with ThreadPoolExecutor(3 * AT_A_TIME) as pool:
        answers = list(pool.map(lambda _: service.call("GET", "/jobs"), range(3 * AT_A_TIME)))
    assert [answer.status_code for answer in answers] == [200] * len(answers)
    assert most == AT_A_TIME
