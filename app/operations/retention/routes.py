"""The routes of retention: which ended jobs are deleted automatically."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from app.auth.principals import Admin, Viewer
from app.http.errors import Invalid
from app.http.session import Configured, Reading, Writing
from app.operations.retention import service
from app.operations.retention.run import preview, run
from app.operations.retention.schemas import Policy, RetentionView, RunReport

router = APIRouter(prefix="/retention", tags=["service"])
# Below what clients and proxies wait for an answer.
RUN_LIMIT_S = 15.0
_EXAMPLE: dict[str, Any] = {
    "rules": [
        {"name": "old failures", "states": ["failed", "cancelled"], "older_than_days": 30, "delete": "job"},
        {
            "name": "sweeps",
            "states": ["succeeded"],
            "older_than_days": 14,
            "in_sweeps": True,
            "keep_best_of_sweep": 3,
            "delete": "job",
        },
    ],
    "protected_tags": ["keep"],
}
_BODY: dict[str, Any] = {
    "requestBody": {"content": {"application/json": {"examples": {"two rules": {"value": _EXAMPLE}}}}}
}


@router.get("")
def get_retention(_principal: Viewer, session: Reading) -> RetentionView:
    """Show which ended jobs are deleted automatically, when next, and what the latest runs deleted."""
    return service.show(session)


@router.put("", openapi_extra=_BODY)
def put_retention(policy: Policy, principal: Admin, session: Writing) -> RetentionView:
    """Replace the retention policy; without rules nothing is deleted. Workers first apply a new one an hour later."""
    service.change(session, policy, principal.owner)
    session.flush()
    return service.show(session)


async def _refuse_body(request: Request) -> None:
    """A body would not be read: if it asked for a dry run, jobs would be deleted all the same."""
    if await request.body():
        raise Invalid("body: there must be none; a dry run is POST /retention/run?dry_run=true")


@router.post("/run", dependencies=[Depends(_refuse_body)])
def post_run(
    request: Request,
    principal: Admin,
    settings: Configured,
    dry_run: Annotated[bool, Query(description="Only report what would be deleted.")] = False,
) -> RunReport:
    """Delete now what the retention policy says, for at most 15 seconds; with `?dry_run=true`, only report it."""
    engine = request.app.state.engine
    if dry_run:
        return preview(engine, settings, limit_s=RUN_LIMIT_S)
    deadline = time.monotonic() + RUN_LIMIT_S
    return run(engine, settings, principal.owner, go_on=lambda: time.monotonic() < deadline)
