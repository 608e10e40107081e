"""The report of a job: figures with intervals, controls, what each expert is worth."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response

from app.auth.principals import Viewer
from app.http.session import Configured, Reading
from app.jobs import queries
from app.jobs.routes import JobId
from app.results.predictions.wording import p_text
from app.results.report.explanations import explain_experts, group_absences
from app.results.report.report import report
from app.web.render import page
from app.web.routing import FOLLOWS, page_router
from app.web.views.report_columns import expert_columns, figure_columns

router = page_router()


@router.get("/ui/jobs/{job_id}/report", dependencies=FOLLOWS)
def report_page(
    request: Request, job_id: JobId, _principal: Viewer, session: Reading, settings: Configured
) -> Response:
    """The report as a page."""
    content = report(session, settings, queries.get_job(session, job_id))
    columns = {
        "figures": figure_columns(content.figures),
        "controls": figure_columns(content.controls),
        "experts": expert_columns(content.experts),
    }
    return page(
        request,
        "report/report.html",
        report=content,
        columns=columns,
        p_text=p_text,
        explained=explain_experts(columns["experts"]),
        absences=group_absences(content.absent),
    )
