"""How long requests wait while a worker is stopped, or is cut off from its database, with its locks held.

A worker writes what jobs report, each time in a transaction with locks. If it stops in the middle of one, others wait
until PostgreSQL ends its session. Random moments seldom hit the shortest and widest of these locks, that of the events,
so some moments are chosen because the worker holds it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from sqlalchemy import text

from app.db import reading
from tests.faults.client import Answer, Client, Record
from tests.faults.processes import Part
from tests.faults.quantiles import quantile
from tests.faults.stack import Form, Stack
from tests.faults.traffic import traffic

WAIT_LIMIT_S = 2.0
NUM_CLIENTS = 16
HOLDS_S = (1.0, 5.0)
# Between two cases: longer than any wait, so that each wait belongs to one case.
REST_S = 2.5
CHATTY_PRIORITY = 50
# A try takes some milliseconds, and a worker that writes ten times a second holds the lock for about one of them.
AIM_LIMIT_S = 60.0
AIM_PAUSE_S = 0.05
# What a worker still holds: its transactions that wait for its next statement, and among them those with events.
_HELD = text(
    "SELECT count(*), count(*) FILTER (WHERE EXISTS (SELECT FROM pg_locks WHERE pg_locks.pid = activity.pid"
    " AND locktype = 'advisory' AND granted)) FROM pg_stat_activity AS activity"
    " WHERE application_name = :name AND state = 'idle in transaction'"
)


@dataclass
class Case:
    """A stop of a worker, or the control phase without one; the waits are those of requests that ended in it."""

    what: str
    held_s: float
    transactions: int = 0
    with_events: int = 0
    answers: Sequence[Answer] = ()

    @property
    def longest_s(self) -> float:
        """The longest wait of a request."""
        return max((answer.waited_s for answer in self.answers), default=0.0)

    @property
    def num_refused(self) -> int:
        """Requests that were answered with 503, or not at all."""
        return sum(answer.status in (0, 503) for answer in self.answers)

    def line(self) -> str:
        """The case in words."""
        waits = [answer.waited_s for answer in self.answers] or [0.0]
        held = f"{self.transactions} open transactions, {self.with_events} with the lock of events"
        return (
            f"{self.what:28} {self.held_s:4.1f} s, {held}: {len(waits)} requests, p99 {quantile(waits, 0.99):.2f} s, "
            f"longest {self.longest_s:.2f} s, {self.num_refused} refused"
        )


@dataclass
class Freezes:
    """The control phase and the cases of a run."""

    control: Case
    cases: list[Case] = field(default_factory=list)

    @property
    def longest_s(self) -> float:
        """The longest wait of a request in any case."""
        return max(case.longest_s for case in self.cases)

    def problems(self, limit_s: float = WAIT_LIMIT_S) -> Iterator[str]:
        """The waits that were too long, and answers that no request may get."""
        for case in (self.control, *self.cases):
            for answer in case.answers:
                request = f"{case.what}: {answer.method} {answer.path}"
                if answer.waited_s > limit_s:
                    yield f"{request} waited {answer.waited_s:.2f} s for {answer.status or answer.text}"
                if answer.status not in (200, 201, 202, 409, 503):
                    yield f"{request} was answered with {answer.status}: {answer.text}"


@dataclass(frozen=True)
class _Way:
    """A way to keep a worker from going on, and to let it go on."""

    what: str
    hold: Callable[[Stack, Part], None]
    release: Callable[[Stack, Part], None]
    is_aimed: bool = False


def _stop(_stack: Stack, worker: Part) -> None:
    worker.stop()


def _proceed(_stack: Stack, worker: Part) -> None:
    worker.proceed()


def _cut_off(stack: Stack, worker: Part) -> None:
    stack.worker_proxies[worker.name].silent.set()


def _connect(stack: Stack, worker: Part) -> None:
    stack.worker_proxies[worker.name].silent.clear()


def measure(
    stack: Stack, seed: int, *, stops: int, cuts: int, aimed: int, control_s: float, say: Callable[[str], object]
) -> Freezes:
    """Lets clients use the service, first undisturbed, and then through each case, in a random order."""
    assert stack.form is Form.worker_cut_off
    chance = random.Random(seed)
    ways = [_Way("stopped", _stop, _proceed)] * stops + [_Way("cut off", _cut_off, _connect)] * cuts
    ways += [_Way("stopped with events", _stop, _proceed, is_aimed=True)] * aimed
    chance.shuffle(ways)
    _keep_busy(stack, len(ways))
    with traffic(stack, f"freezes-{seed}", NUM_CLIENTS) as record:
        _wait_for_chatter(stack)
        found = Freezes(_observed(record, Case("control", control_s), lambda: time.sleep(control_s)))
        say(found.control.line())
        for way in ways:
            found.cases.append(_case(stack, record, way, chance))
            say(found.cases[-1].line())
    return found


def _case(stack: Stack, record: Record, way: _Way, chance: random.Random) -> Case:
    worker = chance.choice(stack.workers)
    case = Case(f"{worker.name} {way.what}", chance.uniform(*HOLDS_S))

    def happen() -> None:
        time.sleep(chance.uniform(0.0, 1.0))
        deadline = time.monotonic() + AIM_LIMIT_S
        while True:
            way.hold(stack, worker)
            case.transactions, case.with_events = _held(stack, worker)
            if way.is_aimed and case.with_events:
                # A commit may have been on its way.
                time.sleep(AIM_PAUSE_S)
                case.transactions, case.with_events = _held(stack, worker)
            if not way.is_aimed or case.with_events or time.monotonic() > deadline:
                break
            way.release(stack, worker)
            time.sleep(chance.uniform(0.0, 0.01))
        time.sleep(case.held_s)
        way.release(stack, worker)
        time.sleep(REST_S)

    return _observed(record, case, happen)


def _observed(record: Record, case: Case, happen: Callable[[], object]) -> Case:
    first = len(record.answers)
    happen()
    case.answers = record.answers[first:]
    return case


def _held(stack: Stack, worker: Part) -> tuple[int, int]:
    with reading(stack.engine) as session:
        transactions, with_events = session.execute(_HELD, {"name": worker.name}).one()
    return int(transactions), int(with_events)


def _keep_busy(stack: Stack, num_cases: int) -> None:
    """Submits enough jobs that report all the time for both workers to be busy with them throughout."""
    client = Client(stack, Record(), "chatty")
    for _ in range(4 + 2 * num_cases):
        client.submit("chatty", until=time.monotonic() + 60.0, priority=CHATTY_PRIORITY)
    client.close()


def _wait_for_chatter(stack: Stack) -> None:
    deadline = time.monotonic() + 60.0
    while len(stack.training()) < len(stack.workers) and time.monotonic() < deadline:
        time.sleep(0.1)


def run(seed: int, *, stops: int, cuts: int, aimed: int, control_s: float, say: Callable[[str], object]) -> int:
    """The run of `make faults` with its figures; returns the number of problems."""
    with Stack(Form.worker_cut_off) as stack:
        found = measure(stack, seed, stops=stops, cuts=cuts, aimed=aimed, control_s=control_s, say=say)
        problems = list(found.problems())
        if problems:
            say(stack.api.log.read_text()[-3000:])
    refused = sum(case.num_refused for case in found.cases)
    say(
        f"Longest wait in {len(found.cases)} cases: {found.longest_s:.2f} s, in the control phase without any: "
        f"{found.control.longest_s:.2f} s. Limit: {WAIT_LIMIT_S:.0f} s. Refused with 503: {refused}."
    )
    for problem in problems:
        say(problem)
    return len(problems)
