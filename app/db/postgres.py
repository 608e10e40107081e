"""Connections to PostgreSQL on which nothing waits without limit.

A server that is stopped, paused or cut off does not refuse: it does not answer. And a client that is stopped in the
middle of a transaction keeps its locks. The limits here are those of both sides: how long the server lets a statement
run, wait for a lock, or keep a transaction that does nothing; and how long this side waits for an answer.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import psycopg
from psycopg.abc import RV, PQGen
from psycopg.errors import _WaitTimeout
from sqlalchemy import Engine, create_engine, event

# A request that needs a row which another transaction holds is answered within two seconds, whatever holds it: half of
# them are left for everything else on a busy machine.
LOCK_LIMIT_S = 1.0
STATEMENT_LIMIT_S = 10.0
# A transaction of a stopped process is undone after this; one of a process that is only slow must survive it.
IDLE_LIMIT_S = 10.0
# Longer than the server's own limit, whose message says more.
ANSWER_LIMIT_S = 12.0
# While the server does not answer, one question is enough to find out whether it does again.
SUSPECT_LIMIT_S = 1.0
CONNECT_LIMIT_S = 3
POOL_LIMIT_S = 2.0

_SERVER_SETTINGS: dict[str, float] = {
    "lock_timeout": LOCK_LIMIT_S * 1000,
    "statement_timeout": STATEMENT_LIMIT_S * 1000,
    "idle_in_transaction_session_timeout": IDLE_LIMIT_S * 1000,
    # For the server to notice that this machine is gone.
    "tcp_keepalives_idle": 5,
    "tcp_keepalives_interval": 2,
    "tcp_keepalives_count": 3,
    "tcp_user_timeout": ANSWER_LIMIT_S * 1000,
}
CONNECTION_PARAMETERS: dict[str, Any] = {
    "connect_timeout": CONNECT_LIMIT_S,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": round(ANSWER_LIMIT_S * 1000),
    "options": " ".join(f"-c {name}={value:.0f}" for name, value in _SERVER_SETTINGS.items()),
}


class Answers:
    """Whether the server has answered lately, for all connections of an engine."""

    def __init__(self) -> None:
        self._suspect = threading.Event()

    @property
    def limit_s(self) -> float:
        """How long to wait for the next answer."""
        return SUSPECT_LIMIT_S if self._suspect.is_set() else ANSWER_LIMIT_S

    def came(self) -> None:
        """The server has answered."""
        if self._suspect.is_set():
            self._suspect.clear()

    def failed(self) -> None:
        """The server has not answered in time."""
        self._suspect.set()


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that is given up when the server does not answer in time."""

    answers: Answers

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Wait for an answer as psycopg does; raises OperationalError and closes the connection if none comes."""
        limit_s = self.answers.limit_s if timeout is None else timeout
        started_at = time.monotonic()
        try:
            result = super().wait(gen, interval, limit_s)
        except _WaitTimeout:
            self.answers.failed()
            # What the server would still answer belongs to no question of ours.
            self.pgconn.finish()
            waited_s = time.monotonic() - started_at
            raise psycopg.OperationalError(f"the database server did not answer within {waited_s:.1f} s") from None
        self.answers.came()
        return result


def make_postgres_engine(url: str) -> Engine:
    """An engine whose connections are bounded; it opens up to 60 of them."""
    engine = create_engine(
        url,
        connect_args=CONNECTION_PARAMETERS,
        pool_pre_ping=True,
        pool_size=20,
        max_overflow=40,
        pool_timeout=POOL_LIMIT_S,
        # A statement that failed may be long, and its values may be private: the log gets the reason.
        hide_parameters=True,
    )
    answers = Answers()

    @event.listens_for(engine, "do_connect")
    def _connect(_dialect: Any, _record: Any, arguments: list[Any], parameters: dict[str, Any]) -> BoundedConnection:
        connection = BoundedConnection.connect(*arguments, **parameters)
        connection.answers = answers
        return connection

    return engine
