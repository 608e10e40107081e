"""Responses that routes build themselves."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from app.http.errors import Problem


def json_response(content: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A model as JSON, without FastAPI's second validation of it."""
    return Response(content.model_dump_json(), status, headers, media_type="application/json")


def answer_problem(problem: Problem) -> JSONResponse:
    """A problem as `application/problem+json`."""
    return JSONResponse(problem.body(), problem.status, problem.headers, media_type="application/problem+json")
