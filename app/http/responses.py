"""Responses that routes build themselves."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import Response
from pydantic import BaseModel


def json_response(content: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A model as JSON, without FastAPI's second validation of it."""
    return Response(content.model_dump_json(), status, headers, media_type="application/json")
