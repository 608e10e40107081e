"""The page that compares jobs: their curves, specifications and results."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import Query, Request
from sqlmodel import Session
from starlette.responses import RedirectResponse, Response

from app.auth.principals import Viewer
from app.http.errors import Invalid, NotFound
from app.http.session import Configured, Reading
from app.jobs import queries
from app.jobs.list_queries import JobFilter, list_jobs
from app.jobs.schemas import JobSummary, JobView
from app.models import TERMINAL_STATES, Job
from app.results.metrics import store
from app.results.metrics.schemas import Latest
from app.results.metrics.scores import accuracy_key
from app.web.pages.curves import ChartParameters, Charts, job_facts, panel_views
from app.web.render import page
from app.web.routing import FOLLOWS, page_router
from app.web.views import words
from app.web.views.against_baseline import baseline_cells, other_images, outcomes_against_baseline
from app.web.views.difference import expert_rows, field_rows, metric_rows
from app.web.views.panels import comparison_panels, is_charted, series_look
from app.web.views.selection import MAX_JOBS, distinct_names, parse_selection, selection_query, with_first
from core.spec.fields import ONE_LINE

router = page_router()
MAX_KEYS = 24
# Jobs to choose from if several have the name that is added.
MAX_CHOICES = 5
_DEFAULT_KEYS = ("train/loss_total", "val/loss_global", "throughput/images_per_s")


@dataclass(frozen=True)
class ComparedJob:
    """A job of the comparison: its label in charts, its look, and the addresses without it and with it first."""

    job: JobView
    label: str
    look: str
    without: str
    as_baseline: str


@dataclass(frozen=True)
class Addition:
    """What the text of the form adds: ids, or jobs to choose from if several match, or the reason why it adds none."""

    ids: list[str]
    choices: list[JobSummary]
    problem: str = ""


@router.get("/ui/compare", dependencies=FOLLOWS)
def compare_page(
    request: Request,
    _principal: Viewer,
    session: Reading,
    settings: Configured,
    view: ChartParameters,
    job: Annotated[list[str] | None, Query(max_length=40)] = None,
    key: Annotated[list[str] | None, Query(max_length=100)] = None,
    add: Annotated[str, Query(max_length=2_000, pattern=ONE_LINE)] = "",
    fields: Literal["differing", "all"] = "differing",
) -> Response:
    """Compare 2 to 20 jobs. `job` is an id with its slot, `add` ids or a part of a name, `key` the metrics to draw."""
    texts = [text[:80] for text in job or []]
    selected = parse_selection(texts)
    if len(selected) > MAX_JOBS:
        raise Invalid(f"at most {MAX_JOBS} jobs can be compared; the address has {len(selected)}")
    addition = _addition(session, [id for id, _ in selected], add.strip())
    selected = _with(selected, addition.ids)
    rest = [(name, value) for name, value in request.query_params.multi_items() if name not in ("job", "add")]

    def address(jobs: list[tuple[str, int]]) -> str:
        query = "&".join(filter(None, [selection_query(jobs), urlencode(rest)]))
        return "/ui/compare" + (f"?{query}" if query else "")

    stays = addition.problem or addition.choices
    if not stays and (addition.ids or texts != [f"{id}~{slot}" for id, slot in selected]):
        return RedirectResponse(address(selected), 303)
    rows = queries.get_jobs(session, [id for id, _ in selected])
    latest = list(store.latest_of_jobs(session, [row.id for row in rows]).values())
    views = queries.views(session, rows)
    results = [one.metrics for one in views]
    charted = sorted({name for one in latest for name in one if is_charted(name)})
    keys = _keys(key, views, charted)
    labels = distinct_names([(one.id, one.name) for one in views])
    lines = [(id, label, slot) for (id, slot), label in zip(selected, labels, strict=True)]
    outcomes = outcomes_against_baseline(settings, rows)
    other = other_images(outcomes)
    spec_rows = field_rows([one.spec for one in views])
    live = [row.id for row in rows if row.state not in TERMINAL_STATES]
    return page(
        request,
        "compare/compare.html",
        status=422 if addition.problem else 200,
        problem=addition.problem,
        add=add if stays else "",
        choices=[(one, address(_with(selected, [one.id]))) for one in addition.choices[:MAX_CHOICES]],
        has_more_choices=len(addition.choices) > MAX_CHOICES,
        selection=[f"{id}~{slot}" for id, slot in selected],
        query=selection_query(selected),
        jobs=_compared(views, labels, selected, address),
        keys=keys,
        all_keys=charted,
        curves=_charts(session, rows, latest, lines, keys),
        fields=fields,
        spec_rows=[row for row in spec_rows if row.differs or fields == "all"],
        num_equal=sum(not row.differs for row in spec_rows),
        metric_rows=metric_rows(results, other),
        other_images=[(label, why) for label, why in zip(labels, other, strict=True) if why],
        expert_rows=expert_rows(results),
        against_baseline=baseline_cells(rows, outcomes),
        view={name: value for name, value in view.items() if value},
        stream="&".join(f"job={id}" for id in live),
        max_jobs=MAX_JOBS,
    )


def _with(selected: list[tuple[str, int]], ids: list[str]) -> list[tuple[str, int]]:
    return parse_selection([*(f"{id}~{slot}" for id, slot in selected), *ids])


def _addition(session: Session, selected: list[str], text: str) -> Addition:
    """What a text adds to the selected jobs: ids, or the jobs whose name contains it."""
    ids = text.replace(",", " ").split()
    try:
        queries.require_jobs(session, ids)
    except NotFound:
        jobs: Sequence[JobSummary]
        jobs = list_jobs(session, JobFilter(q=text[:200]), limit=MAX_JOBS + MAX_CHOICES + 1).items
        matches = [job for job in jobs if job.id not in selected]
        if len(matches) != 1:
            shown = words.plain(text[:80])
            return Addition([], matches, "" if matches else f"There is no other job with the name or id {shown!r}.")
        ids = [matches[0].id]
    if len(dict.fromkeys([*selected, *ids])) > MAX_JOBS:
        return Addition([], [], f"At most {MAX_JOBS} jobs can be compared.")
    return Addition(ids, [])


def _keys(requested: list[str] | None, views: list[JobView], charted: list[str]) -> list[str]:
    if requested is not None:
        return [name for name in dict.fromkeys(requested) if name in charted][:MAX_KEYS]
    preferred = [*(accuracy_key(one.kind) for one in views), *_DEFAULT_KEYS]
    return [name for name in dict.fromkeys(preferred) if name in charted]


def _compared(
    views: list[JobView],
    labels: list[str],
    selected: list[tuple[str, int]],
    address: Callable[[list[tuple[str, int]]], str],
) -> list[ComparedJob]:
    return [
        ComparedJob(
            job=one,
            label=label,
            look=series_look(slot),
            without=address([other for other in selected if other[0] != one.id]),
            as_baseline=address(with_first(selected, one.id)),
        )
        for one, label, (_, slot) in zip(views, labels, selected, strict=True)
    ]


def _charts(
    session: Session,
    rows: list[Job],
    latest: list[dict[str, Latest]],
    lines: list[tuple[str, str, int]],
    keys: list[str],
) -> Charts:
    attempts = queries.attempts_of_jobs(session, [row.id for row in rows])
    by_line = {(row.id, name): value for row, one in zip(rows, latest, strict=True) for name, value in one.items()}
    return Charts(
        panels=panel_views(session, comparison_panels(lines, keys), by_line, []),
        jobs=json.dumps([job_facts(row, attempts[row.id], []) for row in rows]),
        source="",
        first_step=None,
        seconds_to_first=None,
        is_over=all(row.state in TERMINAL_STATES for row in rows),
        compares=True,
    )
