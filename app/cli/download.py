"""Downloads that go on where they broke off and are verified before they get their name."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from app.cli.client import Api, ApiError


def download(
    api: Api, path: str, target: Path, *, format: str, on_bytes: Callable[[int, int], object] = lambda done, total: None
) -> Path:
    """Fetches a component into `target` (a folder: under the name the service gives); gives the file.

    What is there of an earlier try (`<name>.part`) is kept if the service still has the same file. Raises ApiError
    where the content is not what was promised.
    """
    with api.stream(path, format=format, headers={"Range": "bytes=0-0"}) as answer:
        etag = answer.headers["etag"]
        name = answer.headers["content-disposition"].partition('filename="')[2].rstrip('"')
        promised = base64.b64decode(answer.headers["repr-digest"].partition("=:")[2].rstrip(":"))
    if target.is_dir():
        target = target / Path(name).name
    part = target.with_name(f"{target.name}.{etag.strip(chr(34))[:16]}.part")
    for old in target.parent.glob(f"{target.name}.*.part"):
        if old != part:
            old.unlink()
    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-", "If-Range": etag} if have else {}
    try:
        with api.stream(path, format=format, headers=headers) as answer, part.open("r+b" if have else "wb") as file:
            if answer.status_code != 206:
                file.truncate(0)
                have = 0
            file.seek(have)
            total = have + int(answer.headers["content-length"])
            for block in answer.iter_bytes(1 << 20):
                file.write(block)
                have += len(block)
                on_bytes(have, total)
    except ApiError as error:
        if error.status != 416:
            raise
    digest = hashlib.sha256()
    with part.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.digest() != promised:
        part.unlink()
        raise ApiError(f"{target} arrived damaged (its SHA-256 differs): try again")
    os.replace(part, target)
    return target
