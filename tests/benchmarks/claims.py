"""How long a queued job waits on PostgreSQL while the only device of another worker is taken."""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from app.supervisor.up import commands
from core.run.rundir import RunDir
from tests.benchmarks.measures import Row, row
from tests.benchmarks.postgres import process
from tests.e2e.running import Running, expert
from tests.parts import running_postgres, wait_until

ROUNDS = 20
# Far above the target: if no message reached the free worker, a job would wait for its next round.
RECONCILE_S = "20"


def rows() -> list[Row]:
    """From POST to the claim, and from there to the start of the training process."""
    with tempfile.TemporaryDirectory() as temporary, running_postgres(durable=True) as server:
        environment = {"MCN_DATABASE_URL": server, "MCN_RECONCILE_S": RECONCILE_S, "MCN_DEVICES": "cpu"}
        up = Running(Path(temporary) / "data", MCN_WORKER_NAME="host-1", **environment)
        up.start()
        try:
            with _second_worker(up, environment | {"MCN_WORKER_NAME": "host-2"}):
                busy = up.submit(expert(epochs=90_000))
                up.wait(busy, "running")
                # The first one also starts the warm process of the other worker.
                _waits(up)
                waits = [_waits(up) for _ in range(ROUNDS)]
                up.api.post(f"/jobs/{busy}/cancel")
                up.wait(busy, "cancelled")
        finally:
            up.stop()
    claims, starts = zip(*waits, strict=True)
    return [
        _row("from POST to the claim on PostgreSQL, another worker busy", claims),
        _row("from the claim to the start of its process", starts),
    ]


def _row(what: str, seconds: Sequence[float]) -> Row:
    median_s = statistics.median(seconds)
    value = f"{median_s:.3f} s, at most {max(seconds):.3f} s"
    return row(what, value, "< 0.2 s", median_s < 0.2)


def _waits(up: Running) -> tuple[float, float]:
    """The two times of a job that nothing keeps from starting, in seconds."""
    job_id = up.submit(expert(epochs=1))
    up.wait(job_id, "succeeded")
    [attempt] = up.api.get(f"/jobs/{job_id}/attempts")["items"]
    posted_at, claimed_at = (
        datetime.fromisoformat(text).timestamp() for text in (up.job(job_id)["created_at"], attempt["started_at"])
    )
    # The first thing that a training process writes. Its own start time is less exact: it counts from the boot.
    began_at = RunDir(up.settings.runs_dir / job_id).attempt(1).claim.stat().st_mtime
    return claimed_at - posted_at, began_at - claimed_at


@contextmanager
def _second_worker(up: Running, environment: dict[str, str]) -> Iterator[None]:
    given = os.environ | environment | {"MCN_DATA_DIR": str(up.settings.data_dir)}
    with process(commands(up.settings)["worker"], given):
        wait_until(lambda: len(up.api.get("/cluster")["workers"]) == 2, "the second worker")
        yield
