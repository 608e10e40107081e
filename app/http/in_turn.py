"""Answers whose making keeps a core busy: a few at a time in a process, in the order in which they came.

Made all at once they share the core, and a late one may be done before an early one. The mean is the same, but the
slowest takes three times as long (measured with lists of jobs, in `tests/benchmarks/postgres.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from starlette.concurrency import run_in_threadpool

P = ParamSpec("P")
T = TypeVar("T")
# While one waits for the database, another one computes.
AT_A_TIME = 2
# After this time an answer is made beside the others: they may be waiting for a database that is silent.
PATIENCE_S = 0.5


class InTurn:
    """Runs functions in threads, of which a few at a time."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(AT_A_TIME)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of a function, which begins once there is a slot, or after `PATIENCE_S` without one."""
        has_slot = await self._has_slot()
        try:
            return await run_in_threadpool(function, *args, **kwargs)
        finally:
            if has_slot:
                self._slots.release()

    async def _has_slot(self) -> bool:
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self._slots.acquire()
        except TimeoutError:
            return False
