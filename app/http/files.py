"""The response with a file whose SHA-256 is known: entity tag, digest, ranges."""

from __future__ import annotations

import base64
import os
from pathlib import Path

from starlette.responses import FileResponse, MalformedRangeHeader, RangeNotSatisfiable, Response

from app.http.errors import RangeOutsideFile


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
        except RangeNotSatisfiable:
            detail = f"Range: {http_range[:100]} begins after the end of the file, which has {file_size:,} bytes"
            raise RangeOutsideFile(detail, headers={"Content-Range": f"bytes */{file_size}"}) from None


def file_headers(sha256: str, name: str) -> dict[str, str]:
    """The headers of a download with this SHA-256 (hexadecimal), under this file name."""
    digest = base64.b64encode(bytes.fromhex(sha256)).decode()
    return {
        "ETag": f'"{sha256}"',
        "Repr-Digest": f"sha-256=:{digest}:",
        "Cache-Control": "no-cache",
        "Content-Disposition": f'attachment; filename="{name}"',
    }


def not_modified(headers: dict[str, str], if_none_match: str) -> Response | None:
    """304 if the client names the entity tag of these headers in `If-None-Match`."""
    if headers["ETag"] in [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]:
        return Response(status_code=304, headers=headers)
    return None


def file_response(path: Path, headers: dict[str, str], status: os.stat_result) -> Response:
    """The file, or the range of it that the request names."""
    return _FileResponse(path, media_type="application/octet-stream", headers=headers, stat_result=status)
