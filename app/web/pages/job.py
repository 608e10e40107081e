"""The page of one job, and its parts that are refreshed while the job runs."""

from __future__ import annotations

import contextlib
from typing import Any, Literal

from fastapi import Request
from sqlmodel import Session
from starlette.responses import Response

from app.auth.principals import Principal, Viewer
from app.db import now
from app.http.errors import InvalidSpec, NotFound
from app.http.session import Configured, Reading
from app.jobs import explain, ledger, queries, references, schemas
from app.jobs.control_queries import list_controls
from app.jobs.explain_ended import NEEDS_ANOTHER_SPEC
from app.jobs.planned_configs import configs_of
from app.jobs.provenance import provenance
from app.jobs.result import stored_result
from app.jobs.routes import JobId
from app.models import Job, State
from app.results.components.queries import list_components
from app.results.components.schemas import ComponentView
from app.results.report.verdicts import known_verdict
from app.settings import Settings
from app.streams.queries import latest_events
from app.web.pages.curves import ChartParameters, curves_context
from app.web.pages.job_log import last_lines
from app.web.render import page
from app.web.routing import FOLLOWS, page_router
from app.web.views import job_actions, picture
from app.web.views.control_lines import control_lines
from app.web.views.evaluation import evaluation
from app.web.views.spec_lines import spec_lines
from app.web.views.timeline import timeline
from core.spec import SpecError, parse_stored
from core.spec.component_choices import with_component_choices
from core.spec.outline import outline

router = page_router()
SHOWN_EVENTS = 50
# Progress and metrics are on the page in other forms.
EVENT_TYPES = ("state", "component", "log", "alert", "rung")
MAX_STATE_EVENTS = 10_000
# What waits for the components of a job, as far as it is shown.
MAX_USERS = 20
Context = dict[str, Any]


@router.get("/ui/jobs/{job_id}", dependencies=FOLLOWS)
def job_page(
    request: Request,
    job_id: JobId,
    principal: Viewer,
    session: Reading,
    settings: Configured,
    _view: ChartParameters,
    spec: Literal["all", "given"] = "all",
) -> Response:
    """Everything about a job."""
    job = queries.get_job(session, job_id)
    context = _header(session, job, principal, settings) | _attempts(session, job) | _components(session, settings, job)
    context |= _evaluation(session, settings, job, context["job"]) | _model(session, job, context["job"])
    return page(
        request,
        "job/job.html",
        **context,
        **curves_context(session, job, folds=True),
        **_events(session, job),
        log=last_lines(settings, job),
        spec_lines=spec_lines(job.spec, job.defaulted, given_only=spec == "given"),
        given_only=spec == "given",
        provenance=provenance(session, settings, job),
    )


@router.get("/ui/-/jobs/{job_id}/header")
def header_part(request: Request, job_id: JobId, principal: Viewer, session: Reading, settings: Configured) -> Response:
    """State, reason, progress and actions."""
    return page(request, "job/header.html", **_header(session, queries.get_job(session, job_id), principal, settings))


@router.get("/ui/-/jobs/{job_id}/attempts")
def attempts_part(request: Request, job_id: JobId, _principal: Viewer, session: Reading) -> Response:
    """The attempts and where their time went."""
    job = queries.get_job(session, job_id)
    return page(request, "job/attempts.html", job=queries.views(session, [job])[0], **_attempts(session, job))


@router.get("/ui/-/jobs/{job_id}/components")
def components_part(
    request: Request, job_id: JobId, _principal: Viewer, session: Reading, settings: Configured
) -> Response:
    """The components that the job has saved so far."""
    job = queries.get_job(session, job_id)
    context = _components(session, settings, job)
    return page(request, "job/components.html", job=queries.views(session, [job])[0], **context)


@router.get("/ui/-/jobs/{job_id}/evaluation")
def evaluation_part(
    request: Request, job_id: JobId, _principal: Viewer, session: Reading, settings: Configured
) -> Response:
    """The accuracies so far, or those on test."""
    job = queries.get_job(session, job_id)
    view = queries.views(session, [job])[0]
    return page(request, "job/evaluation.html", job=view, **_evaluation(session, settings, job, view))


@router.get("/ui/-/jobs/{job_id}/model")
def model_part(request: Request, job_id: JobId, _principal: Viewer, session: Reading) -> Response:
    """The picture of the model, with the accuracies so far."""
    job = queries.get_job(session, job_id)
    view = queries.views(session, [job])[0]
    return page(request, "job/model.html", job=view, **_model(session, job, view))


@router.get("/ui/-/jobs/{job_id}/log")
def log_part(request: Request, job_id: JobId, _principal: Viewer, session: Reading, settings: Configured) -> Response:
    """The last lines of the log."""
    job = queries.get_job(session, job_id)
    return page(request, "job/log.html", job=queries.views(session, [job])[0], log=last_lines(settings, job))


@router.get("/ui/-/jobs/{job_id}/provenance")
def provenance_part(
    request: Request, job_id: JobId, _principal: Viewer, session: Reading, settings: Configured
) -> Response:
    """What the result is computed from."""
    job = queries.get_job(session, job_id)
    view = queries.views(session, [job])[0]
    return page(request, "job/provenance.html", job=view, provenance=provenance(session, settings, job))


@router.get("/ui/-/jobs/{job_id}/events")
def events_part(request: Request, job_id: JobId, _principal: Viewer, session: Reading) -> Response:
    """What happened to the job, the latest first."""
    job = queries.get_job(session, job_id)
    return page(request, "job/events.html", job=queries.views(session, [job])[0], **_events(session, job))


def _header(session: Session, job: Job, principal: Principal, settings: Settings) -> Context:
    explanation = explain.explain(session, job, settings)
    allowed, state = job_actions.may_change(principal, job.owner), State(job.state)
    fails_again = state == State.failed and job.reason in NEEDS_ANOTHER_SPEC
    can_retry = not fails_again and (state not in explain.DEAD or explain.refusal(session, job) is None)
    return {
        "job": queries.views(session, [job])[0],
        "sweep": job.sweep,
        "explanation": explanation,
        "actions": job_actions.actions(job.id, state, explanation, allowed=allowed, can_retry=can_retry),
    }


def _attempts(session: Session, job: Job) -> Context:
    attempts, at = queries.list_attempts(session, job.id), now()
    account = ledger.ledger(session, job)
    states = queries.list_events(session, job.id, after=0, limit=MAX_STATE_EVENTS, types=["state"])
    rungs = queries.list_events(session, job.id, after=0, limit=MAX_STATE_EVENTS, types=["rung"])
    rows = {row.attempt: row for row in account.attempts}
    return {
        "attempts": [(attempt, rows.get(attempt.number)) for attempt in reversed(attempts)],
        "ledger": account,
        "timeline": timeline(states, rungs, attempts, account, at),
        "now": at,
    }


def _events(session: Session, job: Job) -> Context:
    return {
        "events": [schemas.event_view(event) for event in latest_events(session, job.id, SHOWN_EVENTS, EVENT_TYPES)]
    }


def _components(session: Session, settings: Settings, job: Job) -> Context:
    components = [ComponentView.of(row, job.name) for row in list_components(session, job.id)]
    return {
        "components": components,
        "url": settings.browser_url.rstrip("/"),
        "users": queries.dependents(session, job.id, limit=MAX_USERS),
    }


def _evaluation(session: Session, settings: Settings, job: Job, view: schemas.JobView) -> Context:
    controls = list_controls(session, job.id)
    result: dict[str, Any] | None = None
    with contextlib.suppress(NotFound):
        result = stored_result(settings, job).fields
    return {
        "evaluation": evaluation(view.metrics, result),
        "controls": control_lines(controls),
        "verdict": known_verdict(job, controls),
    }


def _model(session: Session, job: Job, view: schemas.JobView) -> Context:
    try:
        spec = parse_stored(job.spec)
    except SpecError:
        return {"model": None, "picture": None, "figures": {}}
    try:
        configs = configs_of(spec, references.check(session, spec))
    except InvalidSpec:
        # A job that it started from has been deleted.
        configs = {}
    figures = outline(spec, configs).model_dump() | (job.plan or {})
    model = picture.describe_model(with_component_choices(spec, configs), figures, view.metrics)
    return {"model": model, "picture": picture.draw(model), "figures": figures}
