"""The response with a component's file: entity tag, digest, ranges."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from starlette.responses import FileResponse, MalformedRangeHeader, Response

from app.http.errors import NotFound


class _FileResponse(FileResponse):
    # With the default of 64 KiB, thread switches and system calls dominate a download.
    chunk_size = 1 << 20

    @classmethod
    def _parse_range_header(cls, http_range: str, file_size: int) -> list[tuple[int, int]]:
        # A malformed range, or one in another unit, is ignored and the whole file is sent (RFC 9110, section 14.2).
        try:
            return super()._parse_range_header(http_range, file_size)
        except MalformedRangeHeader:
            return []


def component_response(folder: Path, file: dict[str, Any], if_none_match: str) -> Response:
    """The file of a manifest entry in a job's component folder, or 304 if the client has it already.

    NotFound if a better version has replaced the file since the entry was read.
    """
    etag = f'"{file["sha256"]}"'
    digest = base64.b64encode(bytes.fromhex(file["sha256"])).decode()
    headers = {
        "ETag": etag,
        "Repr-Digest": f"sha-256=:{digest}:",
        "Cache-Control": "no-cache",
        "Content-Disposition": f'attachment; filename="{file["name"]}"',
    }
    if etag in [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]:
        return Response(status_code=304, headers=headers)
    # The name of the file comes from the training process, never from the request.
    path = folder / file["file"]
    try:
        status = path.stat()
    except FileNotFoundError:
        raise NotFound("a better version has just replaced this component: request it again") from None
    return _FileResponse(path, media_type="application/octet-stream", headers=headers, stat_result=status)
