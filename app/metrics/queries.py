"""The SQL of metrics beyond the store of their points."""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import Session, col, select

from app.models import Series


def find_series(session: Session, job_id: str, keys: Sequence[str]) -> dict[str, Series]:
    """Those of a job's metrics that have one of these keys, by key."""
    query = select(Series).where(Series.job_id == job_id, col(Series.key).in_(keys))
    return {row.key: row for row in session.exec(query)}
