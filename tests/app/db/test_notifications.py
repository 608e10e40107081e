"""Notifications reach every listener with the commit, also after a lost connection."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Queue

import pytest
from sqlalchemy import Engine, text

from app.db import listen, make_engine, notify, transaction
from tests.parts import wait_until

LIMIT_S = 60.0


@pytest.fixture
def engine(postgres_url: str) -> Iterator[Engine]:
    engine = make_engine(postgres_url)
    yield engine
    engine.dispose()


def listener(url: str, engine: Engine) -> Queue[str]:
    """The messages that a thread receives, once it is connected."""
    received: Queue[str] = Queue()
    connected, before = threading.Event(), listeners(engine)

    def run() -> None:
        for message in listen(url, "mcn"):
            connected.set()
            if message is not None:
                received.put(message)
            if message == "end":
                return

    threading.Thread(target=run, daemon=True).start()
    assert connected.wait(LIMIT_S)
    wait_until(lambda: listeners(engine) - before, "the listener")
    return received


def listeners(engine: Engine) -> set[int]:
    """The server's processes whose clients listen by now."""
    with engine.connect() as connection:
        query = (
            "SELECT pid FROM pg_stat_activity "
            "WHERE query LIKE 'LISTEN%' AND state = 'idle' AND datname = current_database()"
        )
        return set(connection.execute(text(query)).scalars())


def send(engine: Engine, message: str) -> None:
    with transaction(engine) as session:
        notify(session, "mcn", message)


def test_every_listener_gets_what_is_committed(postgres_url: str, engine: Engine) -> None:
    received = [listener(postgres_url, engine) for _ in range(2)]
    with transaction(engine) as session:
        notify(session, "mcn", "undone")
        session.rollback()
    send(engine, "start")
    assert [queue.get(timeout=LIMIT_S) for queue in received] == ["start", "start"]
    send(engine, "end")


def test_a_listener_connects_again(postgres_url: str, engine: Engine) -> None:
    received = listener(postgres_url, engine)
    before = listeners(engine)
    with engine.begin() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE query LIKE 'LISTEN%' AND datname = current_database()"
            )
        )
    wait_until(lambda: listeners(engine) - before, "the new connection")
    send(engine, "start")
    assert received.get(timeout=LIMIT_S) == "start"
    send(engine, "end")


def test_sqlite_has_none(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path}/x.db")
    with transaction(engine) as session:
        notify(session, "mcn", "start")
    engine.dispose()
