"""The routes of predictions: the files, and comparisons that are computed from them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from sqlmodel import Session
from starlette.responses import Response

from app.auth.principals import Viewer
from app.http.openapi import problem_response
from app.http.patterns import MODEL
from app.http.session import Configured, Reading
from app.jobs import queries
from app.jobs.routes import JobId
from app.results.predictions.comparison import Side, compare, default_path
from app.results.predictions.download import Format, predictions_response
from app.results.predictions.examples import COMPARISON
from app.results.predictions.schemas import Comparison
from app.results.predictions.stored import Split, stored_split

router = APIRouter(prefix="/jobs/{job_id}", tags=["predictions"])
compare_router = APIRouter(tags=["predictions"])
_BINARY: dict[str, Any] = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
Reference = Annotated[
    str,
    Query(
        max_length=100,
        pattern=MODEL,
        description="`JOB` or `JOB:PATH`. A path is `fused`, `expert_0`, `expert_0_before`, `ensemble_logits`, ..; "
        "by default `fused`, or `expert_0` of a job of kind `expert`",
    ),
]


@router.head("/predictions", include_in_schema=False)
@router.get(
    "/predictions",
    response_class=Response,
    responses={
        200: {"content": _BINARY},
        206: {
            "description": "One range or several",
            "content": _BINARY | {"multipart/byteranges": {"schema": {"type": "string", "format": "binary"}}},
        },
        304: {"description": "Not modified"},
        416: problem_response("The range is outside the file"),
    },
)
def get_predictions(
    request: Request,
    job_id: JobId,
    _principal: Viewer,
    session: Reading,
    settings: Configured,
    split: Split = "test",
    format: Format = "npz",
) -> Response:
    """Download the logits of every path on the test or the validation images, with image ids and labels."""
    stored = stored_split(settings, queries.get_job(session, job_id), split)
    return predictions_response(stored, format, request.headers.get("if-none-match", ""))


@compare_router.get("/compare", responses={200: {"content": {"application/json": {"example": COMPARISON}}}})
def get_comparison(
    a: Reference, b: Reference, _principal: Viewer, session: Reading, settings: Configured, split: Split = "test"
) -> Comparison:
    """Compare two models on the same images: a minus b with a 95 % interval, exact McNemar test, calibration."""
    return compare(settings, side_of(session, a), side_of(session, b), split)


def side_of(session: Session, reference: str) -> Side:
    """The model that a reference names; raises NotFound for a job that does not exist."""
    job_id, _, path = reference.partition(":")
    job = queries.get_job(session, job_id)
    return Side(job, path or default_path(job.kind))
