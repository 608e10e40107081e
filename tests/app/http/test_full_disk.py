"""What clients are answered when the database has no space to write to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from app.http.error_handlers import database_unavailable
from tests.app.api import Service

FULL = "the disk of the database is full; nothing was changed: make room on it"


@contextmanager
def full_database(service: Service) -> Iterator[None]:
    """SQLite refuses every page beyond those that the database has, as on a full disk."""
    engine = service.app.state.engine

    def limit(connection: Any, *_: object) -> None:
        connection.execute("PRAGMA max_page_count=1")

    def unlimit(connection: Any, *_: object) -> None:
        connection.execute("PRAGMA max_page_count=4294967294")

    event.listen(engine, "checkout", limit)
    try:
        yield
    finally:
        event.remove(engine, "checkout", limit)
        event.listen(engine, "checkout", unlimit)


def test_a_full_disk_is_named_and_the_request_can_be_repeated(service: Service) -> None:
    spec = {"kind": "expert", "expert": {"arch": "convnet_small"}, "dataset": {"name": "digits"}}
    large = spec | {"tags": [f"{number:02}" + "x" * 40 for number in range(20)]}
    with full_database(service):
        answers = [service.post("/jobs", large) for _ in range(20)]
        refused = [answer for answer in answers if answer.status_code != 201]
        assert refused, "the database was not full"
        assert {answer.status_code for answer in refused} == {503}
        assert refused[0].json()["detail"].startswith(FULL)
        assert refused[0].headers["Retry-After"]
        assert service.get("/jobs").status_code == 200
    assert service.post("/jobs", large).status_code == 201


def test_a_full_disk_of_postgresql_is_named_too() -> None:
    problem = database_unavailable(OperationalError("INSERT", {}, psycopg.errors.DiskFull("could not extend file")))
    assert problem.detail.startswith(FULL)
