"""The SQL of lists of jobs: one predicate for the list and for the counts above it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from sqlalchemy import ColumnElement, CompoundSelect, and_, false, func, literal, or_, true, tuple_, union, union_all
from sqlmodel import Session, col, select

from app.http import paging
from app.jobs.list_schemas import JobCounts, JobSummaryPage
from app.jobs.queries import SPEC_COLUMNS, jobs_as_json, jobs_in_order, summaries
from app.models import Job, State, SweepPoint, Tag

# Counts stop here.
MAX_COUNT = 10_000
# In place of the id of a sweep: jobs that no sweep created.
NO_SWEEP = "none"
SortName = Literal["created_at", "-created_at", "priority", "-priority", "name", "-name", "-score"]


class Sort(NamedTuple):
    """A sort order: the column, whether it is descending, and the column's type."""

    column: str
    descending: bool
    type: type


# Job ids increase with the time of creation.
SORTS: dict[SortName, Sort] = {
    "-created_at": Sort("id", True, str),
    "created_at": Sort("id", False, str),
    "-priority": Sort("priority", True, int),
    "priority": Sort("priority", False, int),
    "name": Sort("name", False, str),
    "-name": Sort("name", True, str),
    "-score": Sort("score", True, float),
}


@dataclass(frozen=True)
class JobFilter:
    """What jobs have to match, apart from their state.

    `sweep` is an id, or `NO_SWEEP`; `q` is a part of the name, or the start of the id.
    """

    kind: str | None = None
    tag: str | None = None
    sweep: str | None = None
    owner: str | None = None
    q: str | None = None

    def predicate(self, *, states: Sequence[State] = (), by_name: bool = False) -> ColumnElement[bool]:
        """The condition in SQL that all fields hold, and that the state is one of some if given.

        With `by_name` the query reads jobs in the order of their ids or names; otherwise a search runs before it.
        """
        conditions: list[ColumnElement[bool]] = [true()]
        if self.kind:
            conditions.append(self.column("kind") == self.kind)
        if self.owner:
            conditions.append(self.column("owner") == self.owner)
        if states:
            conditions.append(self.column("state").in_(states))
        if self.tag:
            conditions.append(col(Job.id).in_(select(Tag.job_id).where(Tag.tag == self.tag)))
        if self.sweep == NO_SWEEP:
            # Not `IS NULL`: its index would give most jobs in no order, while those of the list end with the sweep.
            conditions.append(func.coalesce(col(Job.sweep), "") == "")
        elif self.sweep:
            # The jobs that the sweep created, and the existing ones that it reuses.
            created = select(Job.id).where(Job.sweep == self.sweep)
            reused = select(SweepPoint.job_id).where(SweepPoint.sweep_id == self.sweep)
            members: CompoundSelect[str] = union(created, reused)
            conditions.append(col(Job.id).in_(members))
        if self.q:
            # Every id begins with `job_`, so only text from there on selects any.
            of_id = col(Job.id).startswith(self.q, autoescape=True) if self.q.startswith("job_") else false()
            matches = or_(col(Job.name).contains(self.q, autoescape=True), of_id)
            is_direct = by_name and not self.kind and not self.owner
            conditions.append(matches if is_direct else _in_search(matches))
        return and_(*conditions)

    def column(self, name: str) -> ColumnElement[str]:
        """A column to compare with; in a search, one whose index is not used: it would read every row for its name."""
        column: ColumnElement[str] = getattr(Job, name)
        return func.coalesce(column, "") if self.q else column


def _in_search(matches: ColumnElement[bool]) -> ColumnElement[bool]:
    """Jobs that match, found in the index that has names and ids."""
    return col(Job.id).in_(select(Job.id).where(matches).correlate(None))


def list_jobs(
    session: Session,
    filters: JobFilter,
    *,
    states: Sequence[State] = (),
    sort: SortName = "-created_at",
    limit: int = 50,
    cursor: str | None = None,
) -> JobSummaryPage:
    """A page of the jobs that match, in any of some states if given; `-score` leaves out jobs without a score."""
    ids, next_cursor = _page_of_ids(session, filters, states, sort, limit, cursor)
    jobs = jobs_in_order(session, ids, SPEC_COLUMNS)
    return JobSummaryPage(items=summaries(session, jobs), next_cursor=next_cursor)


def list_jobs_as_json(
    session: Session,
    filters: JobFilter,
    fields: Sequence[str],
    *,
    states: Sequence[State] = (),
    sort: SortName = "-created_at",
    limit: int = 50,
    cursor: str | None = None,
) -> str:
    """The same with some fields of the jobs, as the text of a `JobPage` or `JobFieldsPage`."""
    ids, next_cursor = _page_of_ids(session, filters, states, sort, limit, cursor)
    items = jobs_as_json(session, ids, fields)
    return f'{{"items":[{",".join(items)}],"next_cursor":{json.dumps(next_cursor)}}}'


def _page_of_ids(
    session: Session,
    filters: JobFilter,
    states: Sequence[State],
    sort: SortName,
    limit: int,
    cursor: str | None,
) -> tuple[list[str], str | None]:
    """The ids of a page's jobs and the cursor of the next page."""
    column, descending, column_type = SORTS[sort]
    keys = [col(Job.id)] if column == "id" else [col(getattr(Job, column)), col(Job.id)]
    # Ids first: rows are wide, and an index has all that most lists are selected by.
    statement = select(*keys).where(filters.predicate(states=states, by_name=column in ("id", "name")))
    if column == "score":
        statement = statement.where(col(Job.score).is_not(None))
    if cursor:
        of_sort, *position = paging.decode(cursor, [str, str] if column == "id" else [str, column_type, str])
        if of_sort != sort:
            raise paging.invalid_cursor()
        key, bound = tuple_(*keys), tuple_(*position)
        statement = statement.where(key < bound if descending else key > bound)
    statement = statement.order_by(*[part.desc() if descending else part.asc() for part in keys])
    rows = session.connection().execute(statement.limit(limit + 1)).all()
    page = paging.page(list(rows), limit, lambda row: paging.encode(sort, *row))
    return [row[-1] for row in page["items"]], page["next_cursor"]


def count_jobs(session: Session, filters: JobFilter) -> JobCounts:
    """How many of the jobs that match are in each state, up to `MAX_COUNT`."""
    if filters.q:
        # A search reads every name once, whatever the states.
        state = filters.column("state")
        query: Any = select(state, func.count()).where(filters.predicate(by_name=True)).group_by(state)
    else:
        of_states = (
            select(col(Job.id)).where(filters.predicate(states=[state])).limit(MAX_COUNT).subquery() for state in State
        )
        query = union_all(
            *(
                select(literal(state.value), func.count()).select_from(matching)
                for state, matching in zip(State, of_states, strict=True)
            )
        )
    counts = dict(session.connection().execute(query).tuples().all())
    return JobCounts(counts={state: min(counts.get(state.value, 0), MAX_COUNT) for state in State}, limit=MAX_COUNT)
