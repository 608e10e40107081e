"""The charts of a job: the panels that its page includes, and the fragment that renders them again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Depends, Query, Request
from sqlmodel import Session
from starlette.responses import Response

from app.auth.principals import Viewer
from app.http.session import Reading
from app.jobs import queries
from app.jobs.routes import JobId, JobIdText
from app.models import TERMINAL_STATES, Attempt, Job
from app.results.components.queries import list_components
from app.results.metrics import store
from app.results.metrics.batch import series_of_jobs
from app.results.metrics.schemas import Latest
from app.results.metrics.scores import accuracy_key
from app.web.render import page
from app.web.routing import FOLLOWS, page_router
from app.web.views import curves
from app.web.views.panels import Panel, job_panels

router = page_router()
# More charts than this on one page help nobody; the table of metrics of the API has the others.
MAX_PANELS = 40


def chart_parameters(
    x: Literal["step", "epoch", "training", "wall"] = "step",
    logx: Literal["1"] | None = None,
    y: Literal["lin", "log"] = "lin",
    focus: Literal["1"] | None = None,
    smooth: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
    from_: Annotated[float | None, Query(alias="from")] = None,
    to: float | None = None,
    charts: Annotated[str, Query(max_length=200)] = "",
) -> dict[str, Any]:
    """The view of the charts as the address has it: pages with charts take these parameters, `charts.js` reads them."""
    return {"x": x, "logx": bool(logx), "y": y, "focus": bool(focus), "smooth": smooth, "charts": charts}


ChartParameters = Annotated[dict[str, Any], Depends(chart_parameters)]


@dataclass(frozen=True)
class PanelView:
    """A panel as the template shows it; a folded one has no drawing. `config` is what `charts.js` needs, as JSON."""

    panel: Panel
    drawing: curves.Drawing | None
    is_folded: bool
    rows: list[curves.ValueRow]
    config: str


@dataclass(frozen=True)
class Charts:
    """All charts of a page. `jobs` is what `charts.js` needs to know of the jobs, as JSON."""

    panels: list[PanelView]
    jobs: str
    source: str
    first_step: int | None
    seconds_to_first: float | None
    is_over: bool
    compares: bool
    all_charts: str = ""

    @property
    def grids(self) -> list[list[PanelView]]:
        """The panels that are open, then those that are folded."""
        return [[view for view in self.panels if view.is_folded is folded] for folded in (False, True)]


def curves_context(session: Session, job: Job, *, folds: bool) -> dict[str, Any]:
    """What `curves/curves.html` needs to show the charts of a job; `folds` those that say less."""
    latest = store.latest(session, job.id)
    panels = job_panels(job.id, latest)[:MAX_PANELS]
    marks = _marks(session, job, latest)
    by_line = {(job.id, key): value for key, value in latest.items()}
    first = first_step(job)
    report = job.progress or {}
    pace = (report.get("eta_s") or 0) / max(1, (report.get("steps") or 1) - (report.get("step") or 0))
    charts = Charts(
        panels=panel_views(session, panels, by_line, marks, folds=folds),
        jobs=json.dumps([job_facts(job, queries.list_attempts(session, job.id), marks)]),
        source=f"/ui/-/curves?job={job.id}" + ("" if folds else "&folds=0"),
        first_step=first,
        seconds_to_first=pace * first if pace and first else None,
        is_over=job.state in TERMINAL_STATES,
        compares=False,
        all_charts=f"/ui/jobs/{job.id}/curves",
    )
    return {"curves": charts}


def panel_views(
    session: Session,
    panels: list[Panel],
    latest: dict[tuple[str, str], Latest],
    marks: list[tuple[int, str]],
    *,
    folds: bool = False,
) -> list[PanelView]:
    """Panels with their drawings, for which all series are read at once; a folded panel is drawn when it is opened."""
    shown = [line for panel in panels if not (folds and panel.is_minor) for line in panel.lines]
    jobs = list(dict.fromkeys(line.job for line in shown))
    keys = list(dict.fromkeys(line.key for line in shown))
    data = series_of_jobs(session, jobs, keys, curves.POINTS).series if keys else []
    by_line = {(one.job, one.key): one for one in data}
    return [
        PanelView(
            panel,
            curves.draw(panel, by_line, marks if has_marks(panel) else []),
            folds and panel.is_minor,
            rows,
            _config(panel, rows),
        )
        for panel in panels
        for rows in [curves.value_rows(panel, latest)]
    ]


def job_facts(job: Job, attempts: Sequence[Attempt], marks: list[tuple[int, str]]) -> dict[str, Any]:
    """What the browser needs of a job: steps of an epoch, when it ran, its marks."""
    spans = [[_unix(row.started_at), _unix(row.ended_at)] for row in attempts]
    return {
        "id": job.id,
        "epoch": steps_per_epoch(job),
        "live": job.state not in TERMINAL_STATES,
        "spans": spans,
        "marks": marks,
    }


def first_step(job: Job) -> int | None:
    """The step at which the first values are logged; None if it is not known yet."""
    steps = steps_per_epoch(job)
    return None if steps is None else max(1, min(50, steps // 4))


def steps_per_epoch(job: Job) -> int | None:
    """Steps of an epoch, from the plan or from progress."""
    planned = (job.plan or {}).get("steps_per_epoch")
    report = job.progress or {}
    if planned or not (report.get("steps") and report.get("epochs")):
        return planned or None
    return int(report["steps"] // report["epochs"]) or None


def saved_epoch(session: Session, job: Job) -> int | None:
    """The epoch of the components that stand for a job: of its complete model, or of the expert that it trains."""
    name = "expert_0" if job.kind == "expert" else "complete"
    return next((one.epoch for one in list_components(session, job.id) if one.name == name), None)


def _marks(session: Session, job: Job, latest: dict[str, Latest]) -> list[tuple[int, str]]:
    """Steps and their texts. Where there is no room for all texts, the first are shown."""
    marks: list[tuple[int, str]] = []
    best = latest.get(accuracy_key(job.kind))
    steps = steps_per_epoch(job)
    saved = saved_epoch(session, job)
    if saved is not None and steps:
        # Of epochs with equal accuracy, the one that was saved.
        marks.append((saved * steps, f"best accuracy: epoch {saved}"))
    elif best is not None and best.best_step is not None and steps:
        marks.append((best.best_step, f"highest accuracy: epoch {round(best.best_step / steps)}"))
    return marks + [
        (row.resumed_from_step, f"attempt {row.number} from {row.resumed_from_step}")
        for row in queries.list_attempts(session, job.id)
        if row.number > 1 and row.resumed_from_step
    ]


def _config(panel: Panel, rows: list[curves.ValueRow]) -> str:
    lines = [
        {
            "job": row.line.job,
            "key": row.line.key,
            "label": row.line.label,
            "look": row.line.look,
            "count": row.count,
            "ranked": row.line.is_ranked,
        }
        for row in rows
    ]
    facts = {"title": panel.title, "better": panel.better, "comparable": panel.is_comparable, "marks": has_marks(panel)}
    facts["share"] = panel.is_share
    return json.dumps(facts | {"lines": lines})


def has_marks(panel: Panel) -> bool:
    """Whether resumes and the best epoch are marked: where training is judged, not in every chart."""
    return panel.id in ("accuracy", "losses")


def _unix(time: datetime | None) -> float | None:
    return None if time is None else time.timestamp()


@router.get("/ui/-/curves")
def curves_fragment(
    request: Request, _principal: Viewer, session: Reading, job: JobIdText, folds: bool = True
) -> Response:
    """The charts of a job, again: new metrics may have come."""
    return page(request, "curves/curves.html", **curves_context(session, queries.get_job(session, job), folds=folds))


@router.get("/ui/jobs/{job_id}/curves", dependencies=FOLLOWS)
def curves_page(
    request: Request, _principal: Viewer, session: Reading, job_id: JobId, _view: ChartParameters
) -> Response:
    """The charts of a job in the full width of the window."""
    job = queries.get_job(session, job_id)
    return page(request, "curves/page.html", job=job, **curves_context(session, job, folds=False))
