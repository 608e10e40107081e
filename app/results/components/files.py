"""The response with a component's file: entity tag, digest, ranges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.responses import Response

from app.http.errors import NotFound
from app.http.files import file_headers, file_response, not_modified
from app.jobs.result import file_is_gone
from app.models import TERMINAL_STATES, Job


def component_response(job: Job, folder: Path, file: dict[str, Any], if_none_match: str) -> Response:
    """The file of a manifest entry in a job's component folder, or 304 if the client has it already.

    NotFound if a better version has replaced the file since the entry was read.
    """
    headers = file_headers(file["sha256"], file["name"])
    if unchanged := not_modified(headers, if_none_match):
        return unchanged
    # The name of the file comes from the training process, never from the request.
    path = folder / file["file"]
    try:
        status = path.stat()
    except FileNotFoundError:
        raise replaced_or_gone(job) from None
    return file_response(path, headers, status)


def replaced_or_gone(job: Job) -> NotFound:
    """The error for a component whose file is not there."""
    if job.state in TERMINAL_STATES:
        return file_is_gone(job, "the file of this component")
    return NotFound("a better version has just replaced this component: request it again")
