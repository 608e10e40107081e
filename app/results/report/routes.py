"""The routes of reports."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response

from app.auth.principals import Viewer
from app.http.session import Configured, Reading
from app.jobs import queries
from app.jobs.routes import JobId
from app.results.report.markdown import as_markdown
from app.results.report.picture import as_svg
from app.results.report.report import report
from app.results.report.schemas import Report

router = APIRouter(prefix="/jobs/{job_id}", tags=["predictions"])
_TEXT: dict[str, Any] = {"schema": {"type": "string"}}


@router.get("/report", response_model=Report, responses={200: {"content": {"text/markdown": _TEXT}}})
def get_report(
    job_id: JobId,
    _principal: Viewer,
    session: Reading,
    settings: Configured,
    format: Annotated[Literal["json", "markdown"], Query()] = "json",
) -> Report | Response:
    """Report what a job achieved: figures with intervals, controls, what each expert is worth, provenance."""
    content = report(session, settings, queries.get_job(session, job_id))
    if format == "json":
        return content
    headers = {"Content-Disposition": f'inline; filename="{job_id}.md"'}
    return Response(as_markdown(content), media_type="text/markdown; charset=utf-8", headers=headers)


@router.get(
    "/report.svg", response_class=Response, responses={200: {"content": {"image/svg+xml": _TEXT}}}
)  # fmt: skip
def get_report_picture(job_id: JobId, _principal: Viewer, session: Reading, settings: Configured) -> Response:
    """The picture of the report: accuracies with their 95 % intervals."""
    content = report(session, settings, queries.get_job(session, job_id))
    return Response(as_svg(content), media_type="image/svg+xml")
