"""The form of a new job: it checks while a person types, and submits."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

from fastapi import Query, Request
from sqlmodel import Session
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.responses import RedirectResponse, Response
from ulid import ULID

from app.auth.principals import Member, Principal, Viewer
from app.db import reading, transaction
from app.http.errors import InvalidSpec, QuotaExceeded
from app.http.session import Configured, Reading
from app.jobs import queries, service
from app.jobs.content import columns_of_submission
from app.jobs.schemas import Kind
from app.jobs.validation import parse_job
from app.results.components.queries import ComponentFilter, list_all_components
from app.settings import Settings
from app.web.render import page
from app.web.routing import page_router
from app.web.views.draft import Draft, draft_of, read_draft
from app.web.views.new_job import defaults_of, field_errors, form_view
from app.web.views.plan import fusion_choices, plan_view
from app.web.views.prefill import example, of_components
from app.web.views.spec_text import commands, given_fields
from core.spec import ARCHITECTURES
from core.spec.dataset import DATASET_KINDS

router = page_router()
ComponentIds = Annotated[list[str], Query(max_length=64)]
ComponentId = Annotated[str | None, Query(max_length=64)]


def check(session: Session, settings: Settings, draft: Draft) -> None:
    """Adds the dry run of a draft, or its errors."""
    if draft.data is None:
        return
    try:
        draft.run = service.preview(session, settings, parse_job(settings, draft.data))
    except InvalidSpec as problem:
        draft.errors = problem.errors or [{"loc": [], "msg": problem.detail}]


@router.get("/ui/new")
def new_page(
    request: Request,
    _principal: Viewer,
    session: Reading,
    settings: Configured,
    kind: Kind | None = None,
    source: Annotated[str | None, Query(alias="from", max_length=64)] = None,
    experts: ComponentIds = [],  # noqa: B006
    fusion: ComponentId = None,
    head: ComponentId = None,
) -> Response:
    """An empty form, the copy of a job, or a job with components that were chosen before."""
    if source:
        job = queries.get_job(session, source)
        draft = draft_of(given_fields(job.spec, job.defaulted), job.kind)
    elif experts or fusion or head:
        chosen = kind or "fusion"
        draft = draft_of(of_components(session, chosen, experts[:64], fusion, head), chosen)
    else:
        draft = draft_of(example(kind or "fusion"), kind or "fusion")
    check(session, settings, draft)
    fresh = not (source or experts or fusion or head)
    return _page(request, session, settings, draft, fresh=fresh, quiet=fresh and draft.run is None)


@router.post("/ui/new")
async def post_new(request: Request, principal: Member, settings: Configured) -> Response:
    """Check or submit the form."""
    form = await request.form()
    return await run_in_threadpool(_post, request, principal, settings, form)


def _post(request: Request, principal: Principal, settings: Settings, form: FormData) -> Response:
    draft = read_draft(form.multi_items())
    action = form.get("action")
    engine = request.app.state.engine
    if action == "submit" and draft.data is not None:
        try:
            spec = parse_job(settings, draft.data)
            columns = columns_of_submission(settings, spec)
            with transaction(engine) as session:
                body = spec.model_dump_json(by_alias=True, exclude_unset=True).encode()
                # The key holds for one specification: after a change, the same form creates another job.
                key = f"{draft.key}-{hashlib.sha256(body).hexdigest()[:16]}" if draft.key else None
                job, _ = service.submit(session, settings, principal, spec, key=key, body=body, columns=columns)
            return RedirectResponse(f"/ui/jobs/{job.id}", 303)
        except (InvalidSpec, QuotaExceeded) as problem:
            draft.errors = problem.errors or [{"loc": [], "msg": problem.detail}]
    with reading(engine) as session:
        check(session, settings, draft)
        status = 422 if draft.errors and action in ("submit", "check") else 200
        extra = 1 if action == "add-expert" else 0
        return _page(request, session, settings, draft, status=status, extra_rows=extra)


@router.post("/ui/-/new/plan")
async def post_plan(request: Request, _principal: Viewer, settings: Configured) -> Response:
    """The plan panel of what has been entered, with what the script needs to bring form and text in line."""
    form = await request.form()
    return await run_in_threadpool(_plan, request, settings, form)


def _plan(request: Request, settings: Settings, form: FormData) -> Response:
    draft = read_draft(form.multi_items())
    with reading(request.app.state.engine) as session:
        check(session, settings, draft)
    return page(request, "new/_plan.html", form_kind=form.get("kind"), **_plan_context(settings, draft))


def _plan_context(settings: Settings, draft: Draft, *, quiet: bool = False) -> dict[str, Any]:
    errors = [] if quiet or (draft.is_empty and draft.edited == "form") else draft.errors
    rows = None if draft.edited == "text" else draft.rows
    by_field, listed = field_errors(draft.kind, errors, rows)
    rates = draft.run.outline.learning_rates if draft.run else {}
    defaults = defaults_of(draft.kind, draft.run.spec, rates) if draft.run else {}
    follows = draft.values if draft.edited == "text" and draft.data is not None else None
    return {
        "draft": draft,
        "errors": by_field,
        "listed": listed,
        "defaults": defaults,
        # For attributes, where the template engine escapes the quotes.
        "script": {
            name: "" if value is None else json.dumps(value)
            for name, value in {"fields": follows, "defaults": defaults, "errors": by_field}.items()
        },
        "plan": plan_view(draft.run) if draft.run else None,
        "commands": commands(settings.browser_url, "/jobs", draft.data, "submit") if draft.run and draft.data else {},
    }


def _page(
    request: Request,
    session: Session,
    settings: Settings,
    draft: Draft,
    *,
    status: int = 200,
    fresh: bool = False,
    quiet: bool = False,
    extra_rows: int = 0,
) -> Response:
    context = _plan_context(settings, draft, quiet=quiet)
    draft.key = draft.key or str(ULID())
    components = {
        role: list_all_components(session, ComponentFilter(role=role), limit=50)["items"]
        for role in ("expert", "fusion", "head")
    }
    return page(
        request,
        "new/new.html",
        status=status,
        form=form_view(draft.kind, draft.values, context["defaults"], context["errors"], extra_rows),
        form_kind=draft.kind,
        kinds=KIND_ABOUT,
        fresh=fresh,
        fusion_choices=fusion_choices(),
        components=components,
        suggestions={"architectures": list(ARCHITECTURES), "datasets": list(DATASET_KINDS)},
        **context,
    )


KIND_ABOUT = {
    "fusion": "Train experts, fusion and head together",
    "expert": "Train one expert alone",
    "head": "Train a new head on saved experts and fusion",
    "evaluate": "Measure saved components on the test set",
}
