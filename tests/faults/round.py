"""One round: clients use the service, a fault happens and is healed, all jobs end, and everything is checked."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlmodel import col, func, select

from app.db import reading
from app.models import TERMINAL_STATES, Event, Job
from tests.faults.checker import Evidence, violations
from tests.faults.client import Client, Record, Session
from tests.faults.fault import Fault, Scene
from tests.faults.follower import Follower
from tests.faults.history import histories
from tests.faults.stack import Stack
from tests.faults.workload import Result
from tests.parts import pause_s

# How long after the cure the service may take to be of use again, and all jobs to end, on a slow, busy machine.
RECOVERY_LIMIT_S = 90.0
END_LIMIT_S = 180.0
EVENTS_LIMIT_S = 30.0
PROBE_PRIORITY = 100


@dataclass
class Outcome:
    """What came of a round.

    `recovery_s` is from the cure to the start of a job that was submitted after it, `longest_wait_s` the wait for the
    slowest request, `num_refused` how many requests got no answer or 503, and
    `num_resumed` how many attempts followed one that had ended without a result.
    """

    problems: list[str] = field(default_factory=list)
    recovery_s: float | None = None
    longest_wait_s: float = 0.0
    num_refused: int = 0
    num_resumed: int = 0


def run_round(
    stack: Stack, fault: Fault, seed: str, undisturbed: Mapping[str, Result], follower: Follower | None = None
) -> Outcome:
    """Causes and heals a fault once. The seed decides on the moments and on what clients do."""
    chance, record, outcome = random.Random(seed), Record(), Outcome()
    after = latest_event(stack)
    client = Client(stack, record, f"{seed}-probe")
    scene = Scene(stack, chance, client)
    until = time.monotonic() + fault.within_s + fault.holds_s[1] + RECOVERY_LIMIT_S
    session = Session(
        Client(stack, record, f"{seed}-job"),
        random.Random(f"{seed} client"),
        list(fault.jobs),
        is_burst=fault.is_burst,
        controls=fault.controls,
        until=until,
    )
    session.start()
    try:
        scene.pause(0.0, fault.within_s)
        fault.cause(scene)
        session.go_on.set()
        scene.pause(*fault.holds_s)
    finally:
        session.go_on.set()
        fault.heal(scene)
    healed_at = time.monotonic()
    outcome.recovery_s = _recovery_s(stack, client, healed_at)
    if outcome.recovery_s is None:
        outcome.problems.append(f"no job started within {RECOVERY_LIMIT_S:.0f} s after the cure")
    # The session tries to submit what is left of its jobs; then it stops asking.
    while session.is_submitting and time.monotonic() < until:
        time.sleep(0.05)
    session.is_over.set()
    session.join(RECOVERY_LIMIT_S)
    if session.error is not None:
        outcome.problems.append(f"the client ended with {session.error!r}")
    let_everything_end(stack, client, record)
    client.close()
    if follower is not None:
        follower.wait_for(latest_event(stack), EVENTS_LIMIT_S)
    evidence = Evidence(
        engine=stack.engine,
        runs_dir=stack.settings.runs_dir,
        record=record,
        undisturbed=undisturbed,
        followed=list(follower.ids) if follower is not None else None,
        after=after,
        clocks_agree=fault.clocks_agree,
        spares_training=fault.spares_training,
    )
    outcome.problems += violations(evidence)
    outcome.problems += fault.also(scene)
    outcome.problems += [f"process {process.pid} still trains" for process in stack.training()]
    if outcome.problems:
        (stack.folder / "problems.txt").write_text(histories(stack.engine, record, outcome.problems))
    outcome.longest_wait_s = record.longest_wait_s
    outcome.num_refused = record.num_refused
    outcome.num_resumed = num_resumed(stack, record)
    return outcome


def _recovery_s(stack: Stack, client: Client, healed_at: float) -> float | None:
    """From the cure until a job that is submitted now, before all others in the queue, trains or has ended."""
    until = healed_at + RECOVERY_LIMIT_S
    job_id = client.submit("short", until=until, priority=PROBE_PRIORITY)
    while job_id is not None and time.monotonic() < until:
        with reading(stack.engine) as session:
            job = session.get(Job, job_id)
            if job is not None and job.state not in ("waiting", "queued", "starting"):
                return time.monotonic() - healed_at
        time.sleep(0.02)
    return None


def let_everything_end(stack: Stack, client: Client, record: Record) -> None:
    """Resumes what is paused, until every job has ended or the time is up: the checker says what has not."""
    began = time.monotonic()
    while (waited := time.monotonic() - began) < END_LIMIT_S:
        with reading(stack.engine) as session:
            mine = col(Job.idempotency_key).in_(list(record.keys))
            jobs = list(session.exec(select(Job.id, Job.state).where(mine, col(Job.state).not_in(TERMINAL_STATES))))
        if not jobs:
            return
        for job_id, state in jobs:
            if state == "paused":
                client.send("POST", f"/jobs/{job_id}/resume")
        time.sleep(pause_s(waited))


def latest_event(stack: Stack) -> int:
    """The id of the latest change of state of any job."""
    with reading(stack.engine) as session:
        return session.exec(select(func.max(Event.id)).where(Event.type == "state")).one() or 0


def num_resumed(stack: Stack, record: Record) -> int:
    """How many attempts followed the first ones of the jobs of a record."""
    with reading(stack.engine) as session:
        mine = col(Job.idempotency_key).in_(list(record.keys))
        return sum(max(0, number - 1) for number in session.exec(select(Job.attempt).where(mine)))
