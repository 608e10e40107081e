"""One training during which the API, Redis and PostgreSQL are each away for a while: it must notice none of that."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psutil
from sqlmodel import Session, col, select

from app.cli.client import TERMINAL_STATES
from app.db import reading
from app.models import Attempt
from app.results.metrics import store
from core.reporting.event_log import read_events
from core.run.rundir import RunDir
from tests.faults.client import Client, Record
from tests.faults.processes import Part, has_ended
from tests.faults.stack import Form, Stack
from tests.faults.workload import SPECS, state_of
from tests.parts import wait_until

# Before, between and after the outages.
REST_S = 3.0
START_LIMIT_S = 120.0
BACK_LIMIT_S = 90.0
# A training whose speed was measured may be this much faster later, when others use the machine less.
MARGIN = 2.5
MEASURED_S = 4.0
END_LIMIT = 4.0


@dataclass(frozen=True)
class Outage:
    """What training did during an outage, and how long the part took to be of use again."""

    part: str
    length_s: float
    num_steps: int
    recovery_s: float

    def line(self) -> str:
        """The outage in words."""
        return (
            f"{self.part} was away for {self.length_s:.0f} s: training did {self.num_steps} steps meanwhile; "
            f"of use again {self.recovery_s:.1f} s after its start"
        )


class TrainingDisturbedError(AssertionError):
    """An outage was noticed by the training."""


def outages(stack: Stack, length_s: float, say: Callable[[str], object]) -> list[Outage]:
    """Trains one job through an outage of each part; raises TrainingDisturbedError if it notices."""
    with closing(Client(stack, Record(), f"outages-{time.monotonic()}")) as client:
        return _outages(stack, client, length_s, say)


def _outages(stack: Stack, client: Client, length_s: float, say: Callable[[str], object]) -> list[Outage]:
    assert stack.postgres is not None
    assert stack.redis is not None
    job_id = _submit_long_enough(stack, client, 3 * (length_s + REST_S) + 3 * REST_S)
    process = _process(stack, job_id)
    begun = (process.pid, process.create_time())
    events = RunDir(stack.settings.runs_dir / job_id).attempt(1).events
    found = []
    for part in (stack.api, stack.redis, stack.postgres):
        time.sleep(REST_S)
        before = _step(events)
        part.kill()
        time.sleep(length_s)
        # On a busy machine a step may take longer than a short outage: then the outage lasts longer.
        wait_until(lambda: _step(events) > before, f"a step of training while {part.name} is away", START_LIMIT_S)  # noqa: B023
        num_steps = _step(events) - before
        found.append(Outage(part.name, length_s, num_steps, _start_again(stack, client, part)))
        say(found[-1].line())
        now = _process(stack, job_id)
        _check((now.pid, now.create_time()) == begun, f"another process trains after the outage of {part.name}")
    limit_s = END_LIMIT * (3 * length_s + 60)
    wait_until(lambda: state_of(stack.engine, job_id) in TERMINAL_STATES, "the end of the job", limit_s)
    _check_end(stack, job_id, say)
    return found


def _submit_long_enough(stack: Stack, client: Client, needed_s: float) -> str:
    """Submits a job that trains for as long, by the speed of a short one."""
    probe = _submit(client, epochs=100_000)
    process = _process(stack, probe)
    events = RunDir(stack.settings.runs_dir / probe).attempt(1).events
    wait_until(lambda: _epoch(events) > 0, "the first epoch", START_LIMIT_S)
    first = _epoch(events)
    time.sleep(MEASURED_S)
    speed = (_epoch(events) - first) / MEASURED_S
    # A busy service may refuse it with 503. Once it is accepted, it has to work.
    wait_until(lambda: client.send("POST", f"/jobs/{probe}/cancel").status == 202, "a cancellation", START_LIMIT_S)
    wait_until(lambda: has_ended(process), "the end of the job whose speed was measured", START_LIMIT_S)
    return _submit(client, epochs=math.ceil(MARGIN * needed_s * speed) + 1)


def _submit(client: Client, epochs: int) -> str:
    spec = SPECS["chatty"]
    body = json.dumps(spec | {"training": spec["training"] | {"epochs": epochs}}).encode()
    answer = client.send("POST", "/jobs", body=body)
    assert answer.job is not None, answer.text
    return str(answer.job["id"])


def _process(stack: Stack, job_id: str) -> psutil.Process:
    found: list[psutil.Process] = []

    def find() -> bool:
        found.extend(stack.training(job_id=job_id))
        state = state_of(stack.engine, job_id)
        _check(
            state not in TERMINAL_STATES, f"the job {state} before the outages were over: it was too short, or ended"
        )
        return bool(found)

    wait_until(find, "the start of a training process", START_LIMIT_S)
    return found[0]


def _start_again(stack: Stack, client: Client, part: Part) -> float:
    """Starts a part; returns how long it takes until it takes a job, and a worker knows of it."""
    began = time.monotonic()
    part.start()
    job_id = client.submit("short", until=began + BACK_LIMIT_S)
    assert job_id is not None, f"no job was accepted in {BACK_LIMIT_S:.0f} s after the start of {part.name}"
    wait_until(lambda: state_of(stack.engine, job_id) in ("running", *TERMINAL_STATES), "another job", BACK_LIMIT_S)
    return time.monotonic() - began


def _check_end(stack: Stack, job_id: str, say: Callable[[str], object]) -> None:
    with reading(stack.engine) as session:
        attempts = session.exec(select(Attempt).where(Attempt.job_id == job_id).order_by(col(Attempt.number))).all()
        state = state_of(stack.engine, job_id)
        _check(state == "succeeded", f"the job {state}: {attempts[-1].message}")
        _check(len(attempts) == 1, f"the job took {len(attempts)} attempts")
        reported = _reported(stack, job_id)
        stored = _stored(session, job_id)
    _check(stored.keys() == reported.keys(), f"stored series: {sorted(stored)}, reported: {sorted(reported)}")
    for key, points in reported.items():
        problem = next(_differences(points, stored[key]), None)
        _check(problem is None, f"{key} {problem}")
    count = sum(len(points) for points in reported.values())
    took_s = (attempts[0].ended_at - attempts[0].started_at).total_seconds() if attempts[0].ended_at else 0.0
    stored_words = f"{count} values of {len(reported)} metrics are stored once each, as they were reported"
    say(f"One process and one attempt for {took_s:.0f} s; {stored_words}")


def _differences(reported: list[tuple[int, float]], stored: list[tuple[int, float]]) -> Iterator[str]:
    if len(reported) != len(stored):
        yield f"has {len(stored)} values; {len(reported)} were reported"
    for one, other in zip(reported, stored, strict=False):
        if one != other and not (math.isnan(one[1]) and math.isnan(other[1]) and one[0] == other[0]):
            yield f"has {other[1]} at step {other[0]}, where {one[1]} was reported at step {one[0]}"


def _reported(stack: Stack, job_id: str) -> dict[str, list[tuple[int, float]]]:
    """What the training process has reported, by metric: step and value."""
    values: dict[str, list[tuple[int, float]]] = {}
    for event in read_events(RunDir(stack.settings.runs_dir / job_id).attempt(1).events):
        if event["kind"] == "metrics":
            for key, value in event["data"]["values"].items():
                values.setdefault(key, []).append((event["data"]["step"], math.nan if value is None else value))
    return values


def _stored(session: Session, job_id: str) -> dict[str, list[tuple[int, float]]]:
    """What the database has, by metric: step and value."""
    values: dict[str, list[tuple[int, float]]] = {}
    for key, series_id, chunks in store.chunk_batches(session, job_id):
        block = store.read_chunks(session, series_id, chunks)
        values.setdefault(key, []).extend(zip(block.steps.tolist(), block.values.tolist(), strict=True))
    return values


def _step(events: Path) -> int:
    """The latest step that training has reported."""
    return max((event["data"]["step"] for event in read_events(events) if event["kind"] == "metrics"), default=0)


def _epoch(events: Path) -> int:
    """How many epochs have been validated."""
    metrics = [event["data"]["values"] for event in read_events(events) if event["kind"] == "metrics"]
    return sum(any(key.startswith("val/") for key in values) for values in metrics)


def _check(is_true: bool, problem: str) -> None:
    if not is_true:
        raise TrainingDisturbedError(problem)


def run(length_s: float, say: Callable[[str], object]) -> int:
    """The run of `make faults` with its figures; returns the number of problems."""
    with Stack(Form.production) as stack:
        try:
            outages(stack, length_s, say)
        except AssertionError as error:
            say(f"Problem: {error}")
            return 1
    return 0
