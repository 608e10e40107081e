"""Sessions that only read, on both databases."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg.pq import TransactionStatus
from sqlalchemy import Engine, text
from sqlmodel import select

from app.db import among, reading, transaction
from app.models import Job


def add_jobs(engine: Engine, *names: str) -> None:
    with transaction(engine) as session:
        for name in names:
            session.add(Job(id=name, kind="expert", name=name, state="queued", owner="x", spec={}, defaulted=[]))


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_statement_that_reads_leaves_no_transaction_open(database: Engine) -> None:
    with reading(database) as session:
        session.execute(text("SELECT 1"))
        connection: Any = session.connection().connection.driver_connection
        assert connection.info.transaction_status == TransactionStatus.IDLE
    # The connection is from the same pool: here it begins a transaction again.
    with transaction(database) as session:
        session.execute(text("SELECT 1"))
        same: Any = session.connection().connection.driver_connection
        assert same is connection
        assert same.info.transaction_status == TransactionStatus.INTRANS


def test_changes_of_what_was_only_read_are_not_written(database: Engine) -> None:
    add_jobs(database, "one")
    with reading(database) as session:
        session.get_one(Job, "one").name = "other"
        assert session.exec(select(Job.name)).one() == "one"
    with reading(database) as session:
        assert session.exec(select(Job.name)).one() == "one"


def test_a_value_is_among_others_whatever_is_in_them(database: Engine) -> None:
    strange = ['{a,"b"}', "NULL", "\\", "", "ü'"]
    add_jobs(database, "other", *strange)
    with reading(database) as session:
        for given in ([], strange, ["other", "absent"], ['a,"b"']):
            found = session.exec(select(Job.id).where(among(session, Job.id, given))).all()
            assert sorted(found) == sorted(set(given) & {"other", *strange})
