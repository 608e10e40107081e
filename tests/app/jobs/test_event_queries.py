"""Ids of events increase in commit order: a reader that resumes after an id misses nothing."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy import Engine, text

from app.db import before_commit, make_engine, now, reading, transaction, upgrade
from app.jobs.event_queries import record_events
from app.models import Job
from app.streams.queries import events_after
from tests.parts import wait_until


def row(step: int) -> dict[str, Any]:
    return {"job_id": "job_1", "time": now(), "type": "log", "data": {"step": step}}


def add(
    engine: Engine, step: int, entered: threading.Event | None = None, go_on: threading.Event | None = None
) -> None:
    """Adds an event, and stops between its insertion and the commit until `go_on` is set."""

    def stop() -> None:
        if entered is not None and go_on is not None:
            entered.set()
            assert go_on.wait(60)

    with transaction(engine) as session:
        record_events(session, [row(step)])
        before_commit(session, stop)


def test_a_reader_misses_no_event_of_a_transaction_that_commits_late(postgres_url: str) -> None:
    upgrade(postgres_url)
    engine = make_engine(postgres_url)
    with transaction(engine) as session:
        session.add(Job(id="job_1", kind="expert", name="", state="running", owner="x", spec={}, defaulted=[]))
    entered, go_on = threading.Event(), threading.Event()
    seen: list[int] = []

    def read() -> None:
        with reading(engine) as session:
            seen.extend(event.data["step"] for event in events_after(session, last_id[0], 100))
            last_id[0] = max([event.id for event in events_after(session, 0, 100)], default=0)

    def second_is_done_or_waits() -> bool:
        with engine.connect() as connection:
            waiting = connection.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted"))
        return second.done() or bool(waiting)

    last_id = [0]
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(add, engine, 1, entered, go_on)
        assert entered.wait(60)
        second = pool.submit(add, engine, 2)
        wait_until(second_is_done_or_waits, "the second transaction")
        read()
        go_on.set()
        first.result()
        second.result()
    read()
    assert seen == [1, 2]
    engine.dispose()


def test_events_are_written_with_the_rows_they_belong_to_or_not_at_all(database: Engine) -> None:
    with transaction(database) as session:
        session.add(Job(id="job_1", kind="expert", name="", state="running", owner="x", spec={}, defaulted=[]))
        record_events(
            session, [{"job_id": "job_1", "time": now(), "type": "log", "data": {"step": k}} for k in range(3)]
        )
    try:
        with transaction(database) as session:
            record_events(session, [row(9)])
            raise KeyError
    except KeyError:
        pass
    with reading(database) as session:
        assert [event.data["step"] for event in events_after(session, 0, 100)] == [0, 1, 2]
