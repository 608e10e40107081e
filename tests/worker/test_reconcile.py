"""Which rounds query the database, and that a slow scheduler delays nothing on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import event

from core.run.protocol import Outcome, OutcomeKind
from tests.app.api import Service
from tests.worker.fake_executor import FakeExecutor, job_of
from worker.reconcile import has_local_attempts, monitor_local, reconcile, reconcile_local, start_local


class UnreachableScheduler(FakeExecutor):
    """An executor whose every call fails."""

    is_local = False

    def __getattribute__(self, name: str) -> Any:
        if name in ("poll", "next_batch", "is_responsible"):
            raise AssertionError("a round over this machine called the scheduler")
        return super().__getattribute__(name)


@pytest.fixture
def statements(service: Service) -> Iterator[list[str]]:
    """The SQL that has been executed."""
    executed: list[str] = []

    def record(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        executed.append(statement)

    engine = service.app.state.engine
    event.listen(engine, "before_cursor_execute", record)
    yield executed
    event.remove(engine, "before_cursor_execute", record)


def test_whether_attempts_run_here_is_known_without_a_query(
    service: Service, executor: FakeExecutor, statements: list[str]
) -> None:
    reconcile(service.context)
    statements.clear()
    assert not has_local_attempts(service.context)
    assert statements == []
    job_id = service.submit()
    start_local(service.context)
    assert has_local_attempts(service.context)
    assert monitor_local(service.context) == 0
    assert has_local_attempts(service.context)
    [attempt] = executor.living.values()
    Outcome(OutcomeKind.failed, "no_space", "full").write(attempt)
    executor.living.clear()
    assert monitor_local(service.context) == 1
    assert job_of(service, job_id)["state"] == "failed"
    assert monitor_local(service.context) == 0
    assert not has_local_attempts(service.context)


def test_a_restarted_worker_finds_attempts_in_its_first_round(service: Service, executor: FakeExecutor) -> None:
    service.submit()
    start_local(service.context)
    service.context.active.clear()
    reconcile(service.context)
    assert has_local_attempts(service.context)


def test_a_round_over_this_machine_does_not_wait_for_a_scheduler(
    service: Service, executor: FakeExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(service.context.executors, "slurm", UnreachableScheduler(service.context.capacity))
    job_id = service.submit()
    reconcile_local(service.context)
    assert job_of(service, job_id)["state"] == "starting"
