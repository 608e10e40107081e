"""The SQL of components."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, false, func, or_, true
from sqlmodel import Session, col, select

from app.http import paging
from app.http.errors import NotFound
from app.models import Component, Job

ComponentSort = Literal["-created_at", "-score"]


def list_components(session: Session, job_id: str) -> list[Component]:
    """The components that a job has saved so far, by name."""
    return list(session.exec(select(Component).where(Component.job_id == job_id).order_by(col(Component.name))))


def component_with_job_name(session: Session, component_id: str) -> tuple[Component, str]:
    """A component and the name of its job; raises NotFound."""
    valid = component_id.isascii() and "\0" not in component_id
    query = select(Component, Job.name).join(Job, col(Job.id) == col(Component.job_id))
    row = session.exec(query.where(Component.id == component_id)).first() if valid else None
    if row is None:
        hint = "`mcn components JOB` lists those of a job, `GET /components` all"
        raise NotFound(f"there is no component {component_id[:80]!r}: {hint}")
    return row[0], row[1]


@dataclass(frozen=True)
class ComponentFilter:
    """What components have to match. `q` is a part of the name of the job, or the start of the component's id."""

    role: str | None = None
    arch: str | None = None
    dataset: str | None = None
    job: str | None = None
    q: str | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """The conditions in SQL."""
        pairs = (("role", self.role), ("arch", self.arch), ("dataset", self.dataset), ("job_id", self.job))
        conditions: list[ColumnElement[bool]] = [
            col(getattr(Component, name)) == value for name, value in pairs if value
        ]
        if self.q:
            # Every id begins with `cmp_`, so only text from there on selects any.
            of_id = col(Component.id).startswith(self.q, autoescape=True) if self.q.startswith("cmp_") else false()
            named = select(Job.id).where(col(Job.name).contains(self.q, autoescape=True))
            # Not the index of jobs: with many matches, components in order lead to a page sooner.
            job_id = func.coalesce(col(Component.job_id), "")
            conditions.append(or_(job_id.in_(named), of_id))
        return conditions


def list_all_components(
    session: Session,
    filters: ComponentFilter,
    *,
    sort: ComponentSort = "-created_at",
    limit: int = 50,
    cursor: str | None = None,
) -> paging.Page[tuple[Component, str]]:
    """A page of the components that match, each with the name of its job; `-score` leaves out those without a score."""
    key: Any = col(Component.score) if sort == "-score" else col(Component.created_at)
    # Ids first: an index has all that most lists are selected by.
    statement = select(Component.id).where(*filters.conditions(), key.is_not(None) if sort == "-score" else true())
    if cursor:
        value, component_id = _position(cursor, sort)
        statement = statement.where(key <= value, or_(key < value, col(Component.id) < component_id))
    statement = statement.order_by(key.desc(), col(Component.id).desc()).limit(limit + 1)
    ids = session.exec(statement).all()
    with_names = select(Component, Job.name).join(Job, col(Job.id) == col(Component.job_id))
    by_id = {row.id: (row, name) for row, name in session.exec(with_names.where(col(Component.id).in_(ids)))}
    rows = [by_id[component_id] for component_id in ids if component_id in by_id]
    return paging.page(rows, limit, lambda row: _cursor(row[0], sort))


def _cursor(row: Component, sort: ComponentSort) -> str:
    return paging.encode(row.score if sort == "-score" else row.created_at.isoformat(), row.id)


def _position(cursor: str, sort: ComponentSort) -> tuple[Any, str]:
    if sort == "-score":
        score, component_id = paging.decode(cursor, [float, str])
        return score, component_id
    text, component_id = paging.decode(cursor, [str, str])
    try:
        return datetime.fromisoformat(text).astimezone(UTC), component_id
    except (ValueError, OverflowError):
        raise paging.invalid_cursor() from None
