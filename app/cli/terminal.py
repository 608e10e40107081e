"""What every command shares: the consoles, errors and exit codes, the connection, JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Any, NoReturn

import httpx
import typer
from pydantic import ValidationError
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from app.cli.client import Api, ApiError
from app.cli.sanitize import sanitize
from app.settings import Settings
from core.spec.fields import in_words


class SafeConsole(Console):
    """A console that sanitizes every text it renders: names, messages and errors are written by other users.

    Text is printed as it is: no rich markup, emoji codes or highlighting, and no line breaks of our own.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(soft_wrap=True, markup=False, emoji=False, highlight=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=sanitize(segment.text))


# Files and pipes have no width of their own.
out = SafeConsole(width=None if sys.stdout.isatty() else 200)
err = SafeConsole(stderr=True)


def fail(message: str, code: int = 1) -> NoReturn:
    """Prints one line on standard error and exits."""
    err.print(f"Error: {message}")
    raise typer.Exit(code)


@contextmanager
def connected() -> Iterator[Api]:
    """A connection to the API. An ApiError ends the command with its message and exit code."""
    try:
        with closing(Api(settings(), err.print)) as api:
            yield api
    except ApiError as error:
        fail(str(error), error.exit_code)


def settings() -> Settings:
    """The settings; ends the command with exit code 2 if a variable in the environment is invalid."""
    try:
        return Settings()
    except ValidationError as error:
        problems = (f"MCN_{str(entry['loc'][0]).upper()}: {in_words(entry)}" for entry in error.errors())
        fail("; ".join(problems), 2)


def is_interactive() -> bool:
    """Whether the user can answer a question."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def print_json(value: Any) -> None:
    """Prints JSON in ASCII, which is safe on any terminal."""
    print(json.dumps(value, indent=1))


def print_response(response: httpx.Response) -> bool:
    """Prints a streamed text as it arrives: raw bytes into a file or pipe, sanitized lines on a terminal.

    Returns whether there was any text.
    """
    has_text = False
    if out.is_terminal:
        for line in response.iter_lines():
            has_text = True
            # Before rich sees it: rich drops the bell character that ends a window title.
            out.print(sanitize(line))
        return has_text
    for chunk in response.iter_bytes():
        has_text = has_text or bool(chunk)
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
    return has_text
