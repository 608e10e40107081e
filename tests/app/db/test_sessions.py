"""Sessions that only read, which hold no transaction open."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg.pq import TransactionStatus
from sqlalchemy import Engine, text

from app.db import reading, transaction


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
