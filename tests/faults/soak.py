"""Jobs over a long time in which some part of the service is killed every few seconds, and started again."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx
from sqlmodel import col, select

from app.db import reading
from app.models import Job, State, Worker
from tests.faults.checker import Evidence, violations
from tests.faults.client import Client, Record
from tests.faults.follower import Follower
from tests.faults.history import histories
from tests.faults.processes import send, with_words
from tests.faults.quantiles import quantile
from tests.faults.round import EVENTS_LIMIT_S, latest_event, let_everything_end, num_resumed
from tests.faults.stack import Form, Stack
from tests.faults.workload import Undisturbed
from tests.parts import wait_until

NAMES = ("stubborn", "stubborn long")
# A part stays away for a moment, as under a supervisor that waits before it starts one again.
AWAY_S = (0.0, 1.0)
TRAINS_LIMIT_S = 5.0
SUBMIT_LIMIT_S = 120.0
LAST_RECOVERY_LIMIT_S = 60.0
LEFT_LIMIT_S = 30.0


@dataclass
class Kill:
    """What was killed, and how long it took from its start until it was of use again; None if it was killed before."""

    part: str
    started_at: float
    is_back: Callable[[], bool]
    recovery_s: float | None = None


@dataclass
class Soak:
    """What came of a soak."""

    kills: list[Kill] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)
    num_resumed: int = 0
    num_refused: int = 0
    longest_wait_s: float = 0.0


class _Submitter(threading.Thread):
    """Submits jobs at random moments of a time, and looks at them in between."""

    def __init__(self, client: Client, chance: random.Random, jobs: int, length_s: float) -> None:
        super().__init__(daemon=True)
        self._client = client
        self._chance = chance
        began = time.monotonic()
        self._moments = sorted(began + chance.uniform(0.0, length_s) for _ in range(jobs))

    def run(self) -> None:
        for moment in self._moments:
            while time.monotonic() < moment:
                time.sleep(min(0.5, max(0.0, moment - time.monotonic())))
                self._client.send("GET", self._chance.choice(("/jobs?limit=20", "/jobs/counts", "/cluster")))
            self._client.submit(self._chance.choice(NAMES), until=time.monotonic() + SUBMIT_LIMIT_S)


def soak(
    stack: Stack, seed: int, *, jobs: int, length_s: float, every_s: float, say: Callable[[str], object]
) -> tuple[Soak, Record]:
    """Runs the jobs while parts are killed; the problems are those of the checker, and what is left running."""
    undisturbed = Undisturbed(stack)
    undisturbed.prepare(NAMES)
    follower = Follower(stack, after=0)
    follower.start()
    chance, record, found = random.Random(seed), Record(), Soak()
    client = Client(stack, record, f"soak-{seed}")
    submitter = _Submitter(client, random.Random(f"{seed} jobs"), jobs, length_s)
    submitter.start()
    began = time.monotonic()
    while (elapsed := time.monotonic() - began) < length_s:
        found.kills.append(_kill(stack, chance))
        if len(found.kills) % 20 == 0:
            say(f"{elapsed:.0f} s: {len(found.kills)} kills, {len(record.keys)} jobs submitted")
        _watch(found.kills, until=began + every_s * len(found.kills))
    _watch(found.kills, until=time.monotonic() + LAST_RECOVERY_LIMIT_S, only_pending=True)
    submitter.join(SUBMIT_LIMIT_S)
    let_everything_end(stack, client, record)
    client.close()
    follower.wait_for(latest_event(stack), EVENTS_LIMIT_S)
    evidence = Evidence(stack.engine, stack.settings.runs_dir, record, undisturbed, list(follower.ids))
    follower.end()
    found.problems += violations(evidence)
    _count(stack, record, found)
    if found.states != Counter({"succeeded": jobs}):
        found.problems.append(f"the jobs have ended as {dict(found.states)}, not as {jobs} succeeded")
    if found.problems:
        (stack.folder / "problems.txt").write_text(histories(stack.engine, record, found.problems))
    found.problems += _left(stack)
    return found, record


def _kill(stack: Stack, chance: random.Random) -> Kill:
    """Kills one part with SIGKILL; starts it again after a moment, unless it is a training process."""
    assert stack.postgres is not None
    assert stack.redis is not None
    part = chance.choice([stack.api, stack.redis, stack.postgres, chance.choice(stack.workers), None])
    if part is None:
        # Most of the time no job trains, so the moment is chosen by the next one that does.
        deadline = time.monotonic() + TRAINS_LIMIT_S
        while not (trains := stack.training()):
            if time.monotonic() > deadline:
                return _kill(stack, chance)
            time.sleep(0.05)
        process = chance.choice(trains)
        time.sleep(chance.uniform(0.0, 0.5))
        job_id, number = _attempt_of(stack, process.pid)
        send(signal.SIGKILL, [process])
        return Kill("training process", time.monotonic(), lambda: _goes_on(stack, job_id, number))
    killed_at = datetime.now(UTC)
    part.kill()
    time.sleep(chance.uniform(*AWAY_S))
    started_at = time.monotonic()
    part.start()
    if part in stack.workers:
        return Kill("worker", started_at, lambda: _is_alive(stack, part.name, killed_at))
    needed = {"api": "database", "Redis": "broker", "PostgreSQL": "database"}[part.name]
    return Kill(part.name, started_at, lambda: _answers(stack, needed))


def _watch(kills: list[Kill], *, until: float, only_pending: bool = False) -> None:
    """Notes who is of use again. A part that is killed once more meanwhile counts from its last start."""
    pending = {kill.part: kill for kill in kills if kill.recovery_s is None}
    while time.monotonic() < until and (pending or not only_pending):
        for part, kill in list(pending.items()):
            if kill.is_back():
                kill.recovery_s = time.monotonic() - kill.started_at
                del pending[part]
        time.sleep(0.05)


def _attempt_of(stack: Stack, pid: int) -> tuple[str, int]:
    file = next(
        file
        for file in stack.settings.runs_dir.glob("*/attempt-*/process.json")
        if f'"pid": {pid},' in file.read_text()
    )
    return file.parents[1].name, int(file.parent.name.removeprefix("attempt-"))


def _goes_on(stack: Stack, job_id: str, number: int) -> bool:
    """Whether a later attempt of a job trains, or it had ended already."""
    with reading(stack.engine) as session:
        job = session.get(Job, job_id)
        assert job is not None
        return job.state in ("succeeded", "failed", "cancelled") or (job.attempt > number and job.state == "running")


def _is_alive(stack: Stack, host: str, killed_at: datetime) -> bool:
    with reading(stack.engine) as session:
        worker = session.get(Worker, host)
        return worker is not None and worker.seen_at.astimezone(UTC) > killed_at


def _answers(stack: Stack, part: str) -> bool:
    """Whether the API answers, and can use a part."""
    try:
        parts = httpx.get(f"{stack.settings.api_url}/readyz", timeout=5.0).json()["parts"]
    except (httpx.HTTPError, ValueError, KeyError):
        return False
    return any(one["name"] == part and one["ok"] for one in parts)


def _count(stack: Stack, record: Record, found: Soak) -> None:
    with reading(stack.engine) as session:
        mine = col(Job.idempotency_key).in_(list(record.keys))
        found.states.update(State(state).value for state in session.exec(select(Job.state).where(mine)))
    found.num_resumed = num_resumed(stack, record)
    found.num_refused, found.longest_wait_s = record.num_refused, record.longest_wait_s


def _left(stack: Stack) -> list[str]:
    """What still runs once all jobs have ended and the workers have been stopped."""
    found = [f"process {process.pid} still trains" for process in stack.training()]
    for worker in stack.workers:
        worker.terminate()

    def is_empty() -> bool:
        return not with_words("worker.training", str(stack.settings.data_dir))

    try:
        wait_until(is_empty, "the end of the workers' processes", LEFT_LIMIT_S)
    except AssertionError:
        processes = with_words("worker.training", str(stack.settings.data_dir))
        found += [f"process {process.pid} is left: {' '.join(process.cmdline())}" for process in processes]
    return found


def run(seed: int, *, jobs: int, length_s: float, every_s: float, say: Callable[[str], object]) -> int:
    """The run of `make faults` with its figures; returns the number of problems."""
    stack = Stack(Form.production)
    keep = True
    try:
        stack.__enter__()
        found, record = soak(stack, seed, jobs=jobs, length_s=length_s, every_s=every_s, say=say)
        keep = bool(found.problems)
    finally:
        stack.end(keep=keep)
    for part, number in sorted(Counter(kill.part for kill in found.kills).items()):
        times = [kill.recovery_s for kill in found.kills if kill.part == part and kill.recovery_s is not None]
        recovery = f"recovery p50 {quantile(times, 0.5):.1f} s, p95 {quantile(times, 0.95):.1f} s" if times else ""
        say(f"{part:18} killed {number} times, of use again {len(times)} times before the next kill of it, {recovery}")
    everything = [kill.recovery_s for kill in found.kills if kill.recovery_s is not None]
    say(
        f"{len(found.kills)} kills in all, recovery p50 {quantile(everything, 0.5):.1f} s, "
        f"p95 {quantile(everything, 0.95):.1f} s; jobs {dict(found.states)}, {found.num_resumed} resumed attempts; "
        f"{len(record.answers)} requests, {found.num_refused} without an answer or with 503, "
        f"longest wait {found.longest_wait_s:.1f} s"
    )
    for problem in found.problems:
        say(problem)
    if keep:
        say(f"What happened is in {stack.folder}")
    return len(found.problems)
