"""What every command shares: where it prints, how it fails, how it finds the API."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console

from app.cli.client import Api, ApiError
from app.settings import Settings

# A file or a pipe has no width that a table must fit in.
# Names and messages are anybody's: what looks like markup in them is not.
_PLAIN: dict[str, Any] = {"soft_wrap": True, "markup": False, "emoji": False, "highlight": False}
out = Console(width=None if sys.stdout.isatty() else 200, **_PLAIN)
err = Console(stderr=True, **_PLAIN)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def an_id(value: str) -> str:
    """A job's, sweep's or token's id, or a component's name; ends with exit 2 for what cannot be one."""
    if not re.fullmatch(r"[A-Za-z0-9_]{1,64}", value):
        fail(f"{value[:40]!r} is no id: ids look like job_01J.., names like expert_0; `mcn jobs` lists them", 2)
    return value


def ids(values: list[str]) -> list[str]:
    """The same of several."""
    return [an_id(value) for value in values]


def fail(message: str, code: int = 1) -> NoReturn:
    """One line on standard error, and out."""
    err.print(f"Error: {message}", markup=False)
    raise typer.Exit(code)


@contextmanager
def connected() -> Iterator[Api]:
    """The API; what it refuses is one line and exit 1, or 2 where the request was wrong in itself."""
    try:
        with closing(Api(settings())) as api:
            yield api
    except ApiError as error:
        fail(str(error), error.exit_code)


def settings() -> Settings:
    """The settings; raises with exit 2 where the environment has a wrong one."""
    try:
        return Settings()
    except ValidationError as error:
        said = "; ".join(f"MCN_{str(entry['loc'][0]).upper()}: {entry['msg']}" for entry in error.errors())
        fail(said, 2)


def on_a_terminal() -> bool:
    """Whether a person can be asked."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def print_json(value: Any) -> None:
    """JSON as it is, whatever the terminal."""
    print(json.dumps(value, indent=1))
