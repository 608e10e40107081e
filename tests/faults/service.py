"""A stack that is used for many rounds, and replaced after one with problems."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from tests.faults.fault import Fault
from tests.faults.follower import Follower
from tests.faults.round import Outcome, run_round
from tests.faults.stack import Form, Stack
from tests.faults.workload import Undisturbed


class Service:
    """A stack of a form, started when it is first needed, with the results of its undisturbed jobs."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self._stack: Stack | None = None
        self._follower: Follower | None = None
        self._undisturbed: Undisturbed | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end(keep=False)

    @property
    def stack(self) -> Stack:
        """The running stack."""
        if self._stack is None:
            self._stack = Stack(self._form)
            self._stack.__enter__()
            self._undisturbed = Undisturbed(self._stack)
            self._follower = Follower(self._stack, after=0)
            self._follower.start()
        return self._stack

    def round(self, fault: Fault, seed: str) -> tuple[Outcome, Path | None]:
        """One round. After one with problems, the folder with its logs is kept and given; the next has a new stack."""
        stack = self.stack
        assert self._undisturbed is not None
        try:
            self._undisturbed.prepare(["short", "long", *fault.jobs])
            outcome = run_round(stack, fault, seed, self._undisturbed, self._follower)
        except Exception as error:  # the round itself did not come to its end: that is its problem
            outcome = Outcome([f"{type(error).__name__}: {error}"])
        if not outcome.problems:
            return outcome, None
        self._end(keep=True)
        return outcome, stack.folder

    def _end(self, *, keep: bool) -> None:
        if self._follower is not None:
            self._follower.end()
        if self._stack is not None:
            self._stack.end(keep=keep)
        self._stack = self._follower = None
