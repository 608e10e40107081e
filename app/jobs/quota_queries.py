"""The SQL of quotas."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, delete
from sqlmodel import Session, col, select

from app.models import Job, Quota


def list_quotas(session: Session) -> list[Quota]:
    """All quotas, by owner; that of `*` comes first."""
    rows = session.exec(select(Quota)).all()
    return sorted(rows, key=lambda quota: (quota.owner != "*", quota.owner))


def max_bytes(session: Session, owner: str) -> int | None:
    """How many bytes the jobs of an owner may store, by their own quota or else that of `*`; None without a limit."""
    holding = select(Quota.max_bytes).where(col(Quota.owner).in_((owner, "*")))
    limit: int | None = session.connection().execute(holding.order_by(col(Quota.owner) == "*").limit(1)).scalar()
    return limit


def put_quota(session: Session, quota: Quota) -> None:
    """Stores a quota, in place of an earlier one of the same owner."""
    session.merge(quota)


def delete_quota(session: Session, owner: str) -> bool:
    """Deletes the quota of an owner; False if there is none."""
    deleted = session.execute(delete(Quota).where(col(Quota.owner) == owner))
    return bool(deleted.rowcount == 1)  # type: ignore[attr-defined]


def may_start(at_limit: Sequence[str], only: Sequence[str] | None) -> list[ColumnElement[bool]]:
    """Conditions on jobs: their owners are not at their limit, and among some owners if there are only these."""
    conditions: list[ColumnElement[bool]] = [] if only is None else [col(Job.owner).in_(only)]
    return [*conditions, col(Job.owner).not_in(at_limit)] if at_limit else conditions
