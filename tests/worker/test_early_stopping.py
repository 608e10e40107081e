"""How many jobs of a sweep run at once, and which are stopped early, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine
from sqlmodel import col, select

from app.db import make_engine, reading, transaction, upgrade
from app.jobs.queue_queries import sweeps_at_limit
from app.jobs.transitions import transition
from app.models import Event, Job, State, Sweep, SweepPoint
from app.results.metrics import store
from app.results.metrics.queries import extremes
from worker import early_stopping as sweeps
from worker.early_stopping import apply_early_stopping, rungs_reached

STEPS = 10
EPOCHS = 27


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path}/mcn.db" if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))
    upgrade(url)
    made = make_engine(url)
    sweeps._decided.clear()
    yield made
    made.dispose()


def add_sweep(engine: Engine, sweep_id: str = "swp_1", **columns: Any) -> None:
    with transaction(engine) as session:
        session.add(Sweep(id=sweep_id, name="", owner="x", base={}, grid={}, **columns))


def add_jobs(
    engine: Engine, *names: str, sweep: str = "swp_1", created_by: str | None = None, state: str = "running"
) -> None:
    """Jobs of a sweep; `created_by` another one, they are reused."""
    with transaction(engine) as session:
        first = len(session.exec(select(SweepPoint.number).where(SweepPoint.sweep_id == sweep)).all())
        for name in names:
            by = created_by or sweep
            session.add(Job(id=name, kind="fusion", name="", state=state, owner="x", spec={}, defaulted=[], sweep=by))
            session.flush()
        for number, name in enumerate(names, start=first):
            reused = created_by is not None
            session.add(SweepPoint(sweep_id=sweep, number=number, job_id=name, point_values={}, reused=reused))


def report(engine: Engine, job_id: str, *values: float, steps: int = STEPS, key: str = "val/accuracy_fused") -> None:
    """Stores the value of a metric after each epoch so far, and the progress."""
    numbers = steps * np.arange(1, len(values) + 1, dtype=np.int64)
    with transaction(engine) as session:
        store.append(session, job_id, {key: store.Block(numbers, np.array(values, dtype=float), numbers.astype(float))})
        job = session.get(Job, job_id)
        assert job is not None
        done = {"epoch": len(values), "epochs": EPOCHS, "step": steps * len(values), "steps": steps * EPOCHS}
        job.progress = done


def states(engine: Engine) -> dict[str, str]:
    with reading(engine) as session:
        return dict(session.exec(select(Job.id, Job.state)).all())


def rungs(engine: Engine, job_id: str) -> list[dict[str, Any]]:
    with reading(engine) as session:
        query = select(Event.data).where(Event.job_id == job_id, Event.type == "rung").order_by(col(Event.id))
        return [dict(data) for data in session.exec(query)]


STOPPING = {"metric": None, "mode": None, "min_epochs": 1, "reduction_factor": 3}


@pytest.mark.parametrize(
    ("active", "max_parallel", "at_limit"),
    [
        ({}, 1, False),
        ({"running": 1}, 2, False),
        ({"running": 1, "starting": 1}, 2, True),
        ({"pausing": 1, "cancelling": 1, "running": 1}, 3, True),
        ({"running": 3}, 2, True),
        ({"queued": 5, "paused": 5, "succeeded": 5, "failed": 5, "cancelled": 5, "waiting": 5, "running": 1}, 2, False),
        ({"running": 50}, None, False),
    ],
)
def test_a_sweep_is_at_its_limit_when_max_parallel_jobs_are_active(
    engine: Engine, active: dict[str, int], max_parallel: int | None, at_limit: bool
) -> None:
    add_sweep(engine, max_parallel=max_parallel)
    for state, count in active.items():
        add_jobs(engine, *(f"{state}{k}" for k in range(count)), state=state)
    with reading(engine) as session:
        assert sweeps_at_limit(session) == ({"swp_1"} if at_limit else set())


def test_a_reused_job_counts_for_the_sweep_that_created_it(engine: Engine) -> None:
    add_sweep(engine, "swp_1", max_parallel=1)
    add_sweep(engine, "swp_2", max_parallel=2)
    add_jobs(engine, "a", sweep="swp_1", created_by="swp_2")
    add_jobs(engine, "b", sweep="swp_2")
    with reading(engine) as session:
        assert sweeps_at_limit(session) == {"swp_2"}


@pytest.mark.parametrize(
    ("done", "epochs", "min_epochs", "factor", "rungs"),
    [
        (0, 27, 1, 3, []),
        (1, 27, 1, 3, [1]),
        (2, 27, 1, 3, [1]),
        (8, 27, 1, 3, [1, 3]),
        (9, 27, 1, 3, [1, 3, 9]),
        (26, 27, 1, 3, [1, 3, 9]),
        (27, 27, 1, 3, [1, 3, 9]),
        (4, 100, 5, 2, []),
        (39, 100, 5, 2, [5, 10, 20]),
        (3, 3, 3, 2, []),
    ],
)
def test_rungs_are_powers_of_the_factor_before_the_end(
    done: int, epochs: int, min_epochs: int, factor: int, rungs: list[int]
) -> None:
    assert rungs_reached(done, epochs, min_epochs, factor) == rungs


def test_a_job_is_compared_with_the_jobs_that_reached_the_rung_before_it(engine: Engine) -> None:
    """Rung 1, reduction factor 3: of n jobs that have reached it, the best max(1, n // 3) continue."""
    add_sweep(engine, early_stopping=STOPPING)
    arrivals = [
        # (value, best of n, kept)
        (0.50, 1, 1, True),  # alone, it is the best
        (0.40, 1, 2, False),  # behind 0.50
        (0.60, 1, 3, True),  # the best of three
        (0.55, 1, 4, False),  # second
        (0.58, 1, 5, False),  # second
        (0.59, 2, 6, True),  # second, and two of six continue
        (0.57, 2, 7, False),  # fourth
        (0.59, 2, 8, True),  # as good as the second
    ]
    for number, (value, best, of, kept) in enumerate(arrivals):
        name = f"job_{number}"
        add_jobs(engine, name)
        report(engine, name, value)
        assert apply_early_stopping(engine) == ([] if kept else [name])
        [decision] = rungs(engine, name)
        assert decision == {
            "rung": 1, "metric": "val/accuracy_fused", "value": value, "kept": kept, "best": best, "of": of,
        }  # fmt: skip
    with reading(engine) as session:
        stopped = session.get(Job, "job_3")
        assert stopped is not None
        assert (stopped.state, stopped.reason) == ("cancelling", "user")
        message = "stopped early: its val/accuracy_fused of 0.55 after 1 epoch is not among the best 1 of 4"
        assert stopped.message == message
    # A job that continued is not stopped by jobs that reach the rung later.
    assert states(engine)["job_0"] == "running"


def test_there_is_one_decision_for_a_job_and_rung_whichever_worker_decides(engine: Engine) -> None:
    add_sweep(engine, early_stopping=STOPPING)
    add_jobs(engine, "a", "b")
    report(engine, "a", 0.5)
    assert apply_early_stopping(engine) == []
    report(engine, "b", 0.9)
    assert apply_early_stopping(engine) == []
    for _ in range(2):
        sweeps._decided.clear()  # as after a restart
        assert apply_early_stopping(engine) == []
    assert [decision["rung"] for decision in rungs(engine, "a")] == [1]
    # A user who starts a stopped job again has it judged at its next rung only.
    add_jobs(engine, "c")
    report(engine, "c", 0.1)
    assert apply_early_stopping(engine) == ["c"]
    with transaction(engine) as session:
        for state in (State.cancelled, State.queued, State.starting, State.running):
            assert transition(session, "c", state)
    sweeps._decided.clear()
    report(engine, "c", 0.1, 0.1)
    assert apply_early_stopping(engine) == []
    report(engine, "c", 0.1, 0.1, 0.1)
    report(engine, "a", 0.5, 0.5, 0.5)
    assert apply_early_stopping(engine) == ["c"]
    assert [(decision["rung"], decision["kept"]) for decision in rungs(engine, "c")] == [(1, False), (3, False)]


def test_a_rung_counts_the_best_value_up_to_it_of_all_that_came_there(engine: Engine) -> None:
    add_sweep(engine, "swp_0")
    add_sweep(engine, early_stopping=STOPPING | {"min_epochs": 3})
    # Finished, stopped and reused jobs count with what they had then, also where an epoch has other steps.
    add_jobs(engine, "done", state="succeeded")
    report(engine, "done", *[0.1, 0.7, 0.2], *[0.95] * 24, steps=4)
    add_jobs(engine, "stopped", state="cancelled")
    report(engine, "stopped", 0.3, 0.4, 0.65)
    add_jobs(engine, "reused", created_by="swp_0")
    report(engine, "reused", 0.1, 0.1, 0.6)
    add_jobs(engine, "young")
    report(engine, "young", 0.99, 0.99)
    # Its best up to epoch 3 is 0.69; what came after does not help it, nor does it hurt.
    add_jobs(engine, "late")
    report(engine, "late", 0.2, 0.69, 0.5, 0.8)
    assert apply_early_stopping(engine) == ["late"]
    assert rungs(engine, "late") == [
        {"rung": 3, "metric": "val/accuracy_fused", "value": 0.69, "kept": False, "best": 1, "of": 4}
    ]
    # A job that another sweep created is not stopped by this one.
    assert states(engine)["reused"] == "running"
    assert rungs(engine, "reused") == []


def test_every_rung_that_was_passed_between_two_rounds_is_decided(engine: Engine) -> None:
    add_sweep(engine, early_stopping=STOPPING)
    add_jobs(engine, "first", "fell")
    report(engine, "first", *[0.5] * 10)
    report(engine, "fell", 0.4, 0.4, 0.9)
    assert apply_early_stopping(engine) == ["fell"]
    assert [(decision["rung"], decision["kept"], decision["of"]) for decision in rungs(engine, "first")] == [
        (1, True, 2), (3, True, 1), (9, True, 1),
    ]  # fmt: skip
    # Its later values count for no rung, because it was to stop.
    assert [(decision["rung"], decision["kept"], decision["of"]) for decision in rungs(engine, "fell")] == [
        (1, False, 2)
    ]


def test_the_lowest_loss_is_best_and_nan_is_worst(engine: Engine) -> None:
    key = "val/loss_global"
    add_sweep(engine, early_stopping=STOPPING | {"metric": key, "reduction_factor": 2})
    add_jobs(engine, "a", "b", "c", "d")
    for name, value in {"a": 1.0, "b": 0.5, "c": float("nan"), "d": 0.7}.items():
        report(engine, name, value, key=key)
    # All four are compared with each other in one round: the best two continue.
    assert apply_early_stopping(engine) == ["a", "c"]
    assert [decision["value"] for decision in rungs(engine, "c")] == [None]
    with reading(engine) as session:
        worst = session.get(Job, "c")
        assert worst is not None
        assert "is not a finite number after 1 epoch" in str(worst.message)


def test_nothing_is_decided_without_the_metric_or_without_early_stopping(engine: Engine) -> None:
    add_sweep(engine, early_stopping=STOPPING)
    add_sweep(engine, "swp_2")
    add_jobs(engine, "a", "b")
    add_jobs(engine, "c", "d", sweep="swp_2")
    add_jobs(engine, "e", state="paused")
    for name, value in {"a": 0.9, "b": 0.8}.items():
        report(engine, name, value, key="val/accuracy_ensemble")
    for name, value in {"c": 0.9, "d": 0.1, "e": 0.1}.items():
        report(engine, name, value)
    assert apply_early_stopping(engine) == []
    assert [rungs(engine, name) for name in "abcde"] == [[]] * 5


def test_extremes_are_those_of_all_points_up_to_the_step(engine: Engine) -> None:
    add_sweep(engine)
    add_jobs(engine, "a", "b", "none", "later")
    report(engine, "later", 0.5, steps=10_000, key="k")
    numbers = np.arange(5_000, dtype=np.int64)
    values = np.sin(numbers / 700.0)
    values[100] = np.nan
    with transaction(engine) as session:
        for name in ("a", "b"):
            store.append(session, name, {"k": store.Block(numbers, values, numbers.astype(float))})
    for until in (0, 99, 1_023, 1_024, 2_500, 4_999, 9_999):
        with reading(engine) as session:
            found = extremes(session, "k", {"a": until, "b": 0, "none": until, "later": until})
        part = values[: until + 1]
        assert found == {"a": (np.nanmin(part), np.nanmax(part)), "b": (0.0, 0.0)}
