"""Column types and constraints that several tables use."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy
from sqlalchemy import BigInteger, CheckConstraint, Integer

# SQLite gives rising row ids to INTEGER primary keys only.
BIG = BigInteger().with_variant(Integer, "sqlite")
JSON = sqlalchemy.JSON(none_as_null=True)


def one_of(column: str, values: Iterable[str]) -> CheckConstraint:
    """Has the database refuse any other value in a text column."""
    return CheckConstraint(f"{column} IN ({', '.join(repr(str(value)) for value in values)})", name=f"{column}_known")
