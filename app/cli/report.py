"""`mcn report`: what a job achieved, with intervals, controls and provenance."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markdown import Markdown

from app.cli.arguments import AsJson, JobId
from app.cli.output import writable
from app.cli.sanitize import sanitize
from app.cli.terminal import connected, fail, out, print_json

MIN_TABLE_WIDTH = 160


def report(
    job_id: JobId,
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", help="Write Markdown to this file, or folder ending in /, with its picture."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Report what a job achieved: figures with intervals, controls, what each expert is worth, provenance."""
    if output is not None:
        return _save(job_id, output, as_json=as_json)
    with connected() as api:
        if as_json:
            return print_json(api.get(f"/jobs/{job_id}/report"))
        text = api.get_text(f"/jobs/{job_id}/report", format="markdown")
    # In a narrow table rich would cut what it cannot show.
    if out.is_terminal and out.width >= MIN_TABLE_WIDTH:
        out.print(Markdown("\n".join(line for line in text.splitlines() if not line.startswith("!["))))
    else:
        print(sanitize(text), end="")


def _save(job_id: str, output: str, *, as_json: bool) -> None:
    """Writes the Markdown and its picture, and prints their names."""
    with connected() as api, writable(output) as target:
        file = target / f"{job_id}.md" if target.is_dir() else target
        drawing = file.with_suffix(".svg")
        if file == drawing:
            markdown = file.with_suffix(".md")
            fail(f"{file} would hold the picture: name a file for the Markdown, such as {markdown}", 2)
        text = api.get_text(f"/jobs/{job_id}/report", format="markdown")
        picture = api.get_text(f"/jobs/{job_id}/report.svg")
        file.write_text(text.replace("(report.svg)", f"({drawing.name})", 1))
        drawing.write_text(picture)
    print_json({"file": str(file), "picture": str(drawing)}) if as_json else out.print(f"{file}\n{drawing}")
