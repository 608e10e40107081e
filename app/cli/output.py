"""The option `-o` of the commands that write files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from app.cli.terminal import fail

Output = Annotated[str, typer.Option("-o", "--output", help="A file, or a folder ending in /.")]


@contextmanager
def writable(output: str) -> Iterator[Path]:
    """The file that `-o` names, whose folder must exist, or the folder, which is created if it ends in /.

    An OSError in the block ends the command with a message.
    """
    target = Path(output)
    try:
        if output.endswith("/") or target.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        elif not target.parent.is_dir():
            fail(f"there is no folder {target.parent}: create it, or name a folder ending in /", 2)
        yield target
    except OSError as error:
        fail(f"{error.filename2 or error.filename or output} cannot be written: {error.strerror}")
