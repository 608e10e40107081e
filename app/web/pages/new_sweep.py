"""The form of a new sweep."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

from fastapi import Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.responses import RedirectResponse, Response
from ulid import ULID

from app.auth.principals import Member, Principal, Viewer
from app.db import reading, transaction
from app.http.errors import Invalid, InvalidSpec, QuotaExceeded
from app.http.session import Configured, Reading
from app.jobs import queries
from app.settings import Settings
from app.sweeps import grid, service
from app.sweeps.placement import PlannedPoint, plan
from app.sweeps.schemas import NewSweep, SweepDryRun
from app.sweeps.validation import parse_sweep
from app.web.render import page
from app.web.routing import page_router
from app.web.views.draft import read_draft
from app.web.views.form_values import ordered
from app.web.views.plan import estimate_text
from app.web.views.spec_text import commands, given_fields, to_yaml
from app.web.views.sweep_form import SweepForm, example_form, num_points, read_sweep_form, to_sweep

router = page_router()
# Points that are planned while a person types; more are planned when asked.
MAX_LIVE_POINTS = 300


@router.get("/ui/sweeps/new")
def new_sweep_page(
    request: Request,
    _principal: Viewer,
    session: Reading,
    settings: Configured,
    source: Annotated[str | None, Query(alias="from", max_length=64)] = None,
) -> Response:
    """An empty form, or one whose base is a job."""
    form = example_form()
    if source:
        job = queries.get_job(session, source)
        form = SweepForm(base=to_yaml(ordered(given_fields(job.spec, job.defaulted))))
    return _page(request, settings, form)


@router.post("/ui/sweeps/new")
async def post_new_sweep(request: Request, principal: Member, settings: Configured) -> Response:
    """Check or submit the form, or begin with what the form of a new job holds."""
    form = await request.form()
    return await run_in_threadpool(_post, request, principal, settings, form)


def _post(request: Request, principal: Principal, settings: Settings, fields: FormData) -> Response:
    action = fields.get("action")
    if action == "sweep":
        return _page(request, settings, SweepForm(base=read_draft(fields.multi_items()).text))
    form = read_sweep_form(fields.multi_items())
    data, errors = to_sweep(form)
    run = None
    if not errors:
        try:
            body = json.dumps(data).encode()
            new_sweep, planned = _planned(settings, data)
            if action == "submit":
                key = f"{form.key}-{hashlib.sha256(body).hexdigest()[:16]}" if form.key else None
                with transaction(request.app.state.engine) as session:
                    sweep, _ = service.create(session, settings, principal, new_sweep, planned, key=key, body=body)
                    sweep_id = sweep.id
                return RedirectResponse(f"/ui/sweeps/{sweep_id}", 303)
            with reading(request.app.state.engine) as session:
                run = service.preview(session, settings, new_sweep, planned)
        except (Invalid, InvalidSpec, QuotaExceeded) as problem:
            errors = problem.errors or [{"loc": [], "msg": problem.detail}]
    status = 422 if errors and action in ("check", "submit", None) else 200
    extra = [("", "")] if action == "add-row" else []
    return _page(request, settings, form, data=data, run=run, errors=errors, status=status, extra=extra)


def _planned(settings: Settings, data: dict[str, Any]) -> tuple[NewSweep, list[PlannedPoint]]:
    new_sweep = parse_sweep(data)
    points = list(grid.points(new_sweep.grid))
    return new_sweep, plan(settings, new_sweep.name, new_sweep.base, new_sweep.grid, points)


@router.post("/ui/-/sweeps/plan")
async def post_sweep_plan(request: Request, _principal: Viewer, settings: Configured) -> Response:
    """The plan panel of what has been entered."""
    form = await request.form()
    return await run_in_threadpool(_plan, request, settings, form)


def _plan(request: Request, settings: Settings, fields: FormData) -> Response:
    data, errors = to_sweep(read_sweep_form(fields.multi_items()))
    run = None
    if not errors and num_points(data) <= MAX_LIVE_POINTS:
        try:
            new_sweep, planned = _planned(settings, data)
            with reading(request.app.state.engine) as session:
                run = service.preview(session, settings, new_sweep, planned)
        except (Invalid, InvalidSpec) as problem:
            errors = problem.errors or [{"loc": [], "msg": problem.detail}]
    return page(request, "new/_sweep_plan.html", **_context(settings, data, run, errors))


def _context(
    settings: Settings, data: dict[str, Any], run: SweepDryRun | None, errors: list[dict[str, Any]]
) -> dict[str, Any]:
    messages = [f"{'.'.join(map(str, error['loc']))[:200]}: {error['msg']}".removeprefix(": ") for error in errors]
    return {
        "run": run,
        "errors": messages,
        "cost": estimate_text(run.estimate) if run else "",
        "points": num_points(data) if data.get("grid") else 0,
        "commands": commands(settings.browser_url, "/sweeps", data, "sweep") if run else {},
    }


def _page(
    request: Request,
    settings: Settings,
    form: SweepForm,
    *,
    data: dict[str, Any] | None = None,
    run: SweepDryRun | None = None,
    errors: list[dict[str, Any]] | None = None,
    status: int = 200,
    extra: list[tuple[str, str]] | None = None,
) -> Response:
    form.key = form.key or str(ULID())
    context = _context(settings, data or {}, run, errors or [])
    return page(request, "new/sweep.html", status=status, form=form, rows=form.rows + (extra or []), **context)
