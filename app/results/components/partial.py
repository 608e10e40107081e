"""The response with a complete model that has some of its experts only, cut out of the whole file as it is sent."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from starlette.responses import Response, StreamingResponse

from app.http.errors import Invalid, NotFound
from app.models import Component, Job
from app.results.components.files import replaced_or_gone
from core.run.durable import DamagedFileError, verify_file
from core.run.partial_model import (
    PartialFile,
    cut,
    measured_accuracy,
    parse_experts,
    partial_file_name,
    read_config,
)
from core.run.rundir import RunDir


def partial_response(
    job: Job, run: RunDir, component: Component, experts: str, format: str | None, if_none_match: str
) -> Response:
    """The `.safetensors` file of a complete model with these experts only, or 304 if the client has it already.

    Invalid for another component or format, and for experts that the model does not have.
    """
    if component.name != "complete":
        raise Invalid(
            f"only a complete model can be reduced to some experts; {component.name} is not one: "
            "request complete instead"
        )
    if format == "pth":
        raise Invalid("a complete model with some experts only is sent as .safetensors: leave out format=pth")
    whole = component.files["safetensors"]
    try:
        chosen = parse_experts(experts)
        path = run.components / whole["file"]
        path.stat()
        verify_file(path, sha256=whole["sha256"], size_bytes=whole["bytes"])
        partial = _plan(path, whole["sha256"], tuple(chosen), _accuracy(run, path, chosen))
        source = path.open("rb")
    except (DamagedFileError, KeyError, TypeError) as error:
        raise NotFound(f"the file of this component is damaged: {error}") from None
    except FileNotFoundError:
        raise replaced_or_gone(job) from None
    except ValueError as error:
        raise Invalid(f"experts: {error}") from None
    etag = f'"{partial.sha256}"'
    headers = {
        "ETag": etag,
        "Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(partial.sha256)).decode()}:",
        "Cache-Control": "no-cache",
        "Accept-Ranges": "none",
        "Content-Disposition": f'attachment; filename="{partial_file_name(whole["name"], chosen)}"',
    }
    if etag in [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]:
        source.close()
        return Response(status_code=304, headers=headers)
    headers["Content-Length"] = str(partial.size_bytes)
    return StreamingResponse(_send(partial, source), media_type="application/octet-stream", headers=headers)


def _accuracy(run: RunDir, path: Path, experts: list[int]) -> float | None:
    with path.open("rb") as source:
        sha256 = str(read_config(source).get("sha256"))
    return measured_accuracy(run.result, experts, sha256)


# Planning reads the whole file; `mcn download` requests each twice. The SHA-256 names the content of the path.
@lru_cache(maxsize=64)
def _plan(path: Path, sha256: str, experts: tuple[int, ...], accuracy: float | None) -> PartialFile:
    with path.open("rb") as source:
        return cut(source, experts, accuracy)


def _send(partial: PartialFile, source: BinaryIO) -> Iterator[bytes]:
    with source:
        yield from partial.blocks(source)
