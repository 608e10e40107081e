"""`mcn report`: what a job achieved, with intervals, controls and provenance."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markdown import Markdown

from app.cli.arguments import AsJson, JobId
from app.cli.sanitize import sanitize
from app.cli.terminal import connected, fail, out, print_json

MIN_TABLE_WIDTH = 160


def report(
    job_id: JobId,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Write Markdown to this file or folder, with its picture."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Report what a job achieved: figures with intervals, controls, what each expert is worth, provenance."""
    if output is not None and output.is_dir():
        output /= f"{job_id}.md"
    if output is not None and not output.parent.is_dir():
        fail(f"the folder {output.parent} does not exist: create it first", 2)
    if output is not None and output.suffix == ".svg":
        fail(f"{output} would hold the picture: name a file for the Markdown, such as {output.with_suffix('.md')}", 2)
    with connected() as api:
        if as_json:
            print_json(api.get(f"/jobs/{job_id}/report"))
            return
        text = api.get_text(f"/jobs/{job_id}/report", format="markdown")
        picture = api.get_text(f"/jobs/{job_id}/report.svg") if output else ""
    if output is not None:
        drawing = output.with_suffix(".svg")
        try:
            output.write_text(text.replace("(report.svg)", f"({drawing.name})", 1))
            drawing.write_text(picture)
        except OSError as error:
            fail(f"{error.filename} cannot be written: {error.strerror}")
        out.print(f"{output}\n{drawing}")
    # In a narrow table rich would cut what it cannot show.
    elif out.is_terminal and out.width >= MIN_TABLE_WIDTH:
        out.print(Markdown("\n".join(line for line in text.splitlines() if not line.startswith("!["))))
    else:
        print(sanitize(text), end="")
