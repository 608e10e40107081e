"""Column types and constraints that several tables share."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy
from sqlalchemy import BigInteger, CheckConstraint, Integer

# SQLite assigns increasing row ids only to primary keys of type INTEGER.
BIG = BigInteger().with_variant(Integer, "sqlite")
JSON = sqlalchemy.JSON(none_as_null=True)


def one_of(column: str, values: Iterable[str]) -> CheckConstraint:
    """A check constraint that allows only these values in a text column."""
    return CheckConstraint(f"{column} IN ({', '.join(repr(str(value)) for value in values)})", name=f"{column}_known")
