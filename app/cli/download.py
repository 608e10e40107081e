"""`mcn download` and `mcn predictions`: resumable, verified downloads."""

from __future__ import annotations

import base64
import glob
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from app.cli.arguments import AsJson, JobId, check_id
from app.cli.client import Api, ApiError
from app.cli.output import Output, writable
from app.cli.terminal import connected, out, print_json
from app.jobs.wording import format_bytes
from core.run.partial_model import describe_accuracy, read_config

# Called with the bytes that are on disk and the bytes of the whole file.
OnBytes = Callable[[int, int], object]
BLOCK_BYTES = 1 << 20


def download_command(
    job_id: JobId,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="expert_0, .., fusion, head or complete.", callback=check_id)
    ],
    output: Output = ".",
    format: Annotated[
        str | None, typer.Option(help="pth or safetensors. [default: pth; safetensors with --experts]")
    ] = None,
    experts: Annotated[
        str | None, typer.Option(help="Of complete: a smaller model with only these experts, such as 0,2.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Download a component. The same command resumes a download that was interrupted."""
    query = {"format": format or ("pth" if experts is None else "safetensors"), "experts": experts}
    _save(f"/jobs/{job_id}/components/{name}", name, output, query, as_json)


@contextmanager
def progress_bar(name: str, *, enabled: bool) -> Iterator[OnBytes]:
    """A bar with bytes, rate and time left while a download runs; nothing if it is not `enabled`."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=out, transient=True, expand=True, disable=not enabled) as progress:
        task = progress.add_task(name, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def predictions_command(
    job_id: JobId,
    split: Annotated[str, typer.Option(help="val or test.")] = "test",
    output: Output = ".",
    format: Annotated[str, typer.Option(help="npz or safetensors.")] = "npz",
    as_json: AsJson = False,
) -> None:
    """Download the logits of a job on its validation or test images, with image ids and labels."""
    query = {"format": format, "split": split}
    _save(f"/jobs/{job_id}/predictions", f"{split} predictions", output, query, as_json)


def _save(path: str, what: str, output: str, query: Mapping[str, str | None], as_json: bool) -> None:
    """Downloads into a file or folder, with a progress bar on a terminal, and prints the name of the file.

    Of a model with some of its experts only, it also prints the measured accuracy.
    """
    bar = progress_bar(what, enabled=out.is_terminal and not as_json)
    with connected() as api, writable(output) as target, bar as on_bytes:
        file = download(api, path, target, **query, on_bytes=on_bytes)
    size, config = file.stat().st_size, None
    if query.get("experts") is not None:
        with file.open("rb") as source:
            config = read_config(source)
    if as_json:
        accuracy = {} if config is None else {"test_accuracy": config["test_accuracy"]}
        print_json({"file": str(file), "bytes": size, **accuracy})
        return
    out.print(f"{file}  {format_bytes(size)}, verified")
    if config is not None:
        out.print(describe_accuracy(config))


def download(
    api: Api,
    path: str,
    target: Path,
    *,
    on_bytes: OnBytes = lambda done, total: None,
    **query: str | None,
) -> Path:
    """Downloads a component, or predictions of a split, into a file, or into a folder under the service's name for it.

    `query` are the parameters of the request, such as `experts`; those that are None are left out. Returns the file.

    An earlier partial download (`<name>.<etag>.part`) is resumed if the service still has the same file. Raises
    ApiError if the content does not match its SHA-256, OSError if the file cannot be written.
    """
    query = {name: value for name, value in query.items() if value is not None}
    with api.stream(path, headers={"Range": "bytes=0-0"}, **query) as response:
        etag = response.headers["etag"]
        name = response.headers["content-disposition"].partition('filename="')[2].rstrip('"')
        expected = base64.b64decode(response.headers["repr-digest"].partition("=:")[2].rstrip(":"))
    if target.is_dir():
        if not re.fullmatch(r"\w[\w.-]*", name, re.ASCII):
            raise ApiError(f"the service suggests {name!r}, which is not a plain file name: give a file with --output")
        target = target / name
    part = target.with_name(f"{target.name}.{etag.strip(chr(34))[:16]}.part")
    for stale in target.parent.glob(f"{glob.escape(target.name)}.*.part"):
        if stale != part:
            stale.unlink()
    done = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={done}-", "If-Range": etag} if done else {}
    try:
        with api.stream(path, headers=headers, **query) as response, part.open("r+b" if done else "wb") as file:
            if response.status_code != 206:
                file.truncate(0)
                done = 0
            file.seek(done)
            total = done + int(response.headers["content-length"])
            on_bytes(done, total)
            for block in response.iter_bytes(BLOCK_BYTES):
                file.write(block)
                done += len(block)
                on_bytes(done, total)
    except ApiError as error:
        # 416: the partial download has all bytes already.
        if error.status != 416:
            raise
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    if digest != expected:
        part.unlink()
        raise ApiError(
            f"{target} arrived damaged (its SHA-256 differs): download it again; "
            "if it is the same then, the file of the service is damaged: train or evaluate again"
        )
    os.replace(part, target)
    return target
