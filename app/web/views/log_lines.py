"""Windows of a log file as lines with their byte offsets."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from app.streams.log_windows import Window, read_window
from app.web.views.words import plain

WINDOW_BYTES = 64 << 10
WINDOW_LINES = 500
# The page shows the beginning of a longer line; the download has all of it.
MAX_LINE_CHARACTERS = 4_000


class LogLine(NamedTuple):
    """A line without terminal sequences, and the offset of its first byte."""

    offset: int
    text: str


class LogWindow(NamedTuple):
    """Lines from byte `start` to `end` (exclusive) of `size`; `previous` and `next` are where other windows begin."""

    lines: list[LogLine]
    start: int
    end: int
    size: int
    previous: int | None
    next: int | None
    last: int


def log_window(file: Path, at: int | None) -> LogWindow:
    """The window that begins with the line of byte `at`, or the last one of the file."""
    if at is None:
        at = _start_before(file, 2**62)
    window = _cut(read_window(file, at, WINDOW_BYTES))
    return LogWindow(
        _lines(window),
        window.start,
        window.end,
        window.size,
        previous=_start_before(file, window.start) if window.start > 0 else None,
        next=window.end if window.end < window.size else None,
        last=_start_before(file, window.size),
    )


def last_lines(file: Path, count: int) -> list[LogLine]:
    """The last lines of a log."""
    return log_window(file, None).lines[-count:]


def _cut(window: Window) -> Window:
    """At most `WINDOW_LINES` of a window."""
    text = b"".join(_split(window.text)[:WINDOW_LINES])
    return window._replace(text=text, end=window.start + len(text))


def _start_before(file: Path, end: int) -> int:
    """Where the window begins that ends at a byte."""
    size = read_window(file, 0, 1).size
    end = min(end, size)
    window = read_window(file, max(0, end - WINDOW_BYTES + 1), WINDOW_BYTES)
    kept = _split(window.text[: max(0, end - window.start)])[-WINDOW_LINES:]
    start = end - sum(map(len, kept))
    return start if start < end else max(0, end - WINDOW_BYTES)


def _lines(window: Window) -> list[LogLine]:
    lines, offset = [], window.start
    for raw in _split(window.text):
        text = raw.rstrip(b"\r\n").decode("utf-8", "replace")
        shown = text if len(text) <= MAX_LINE_CHARACTERS else f"{text[:MAX_LINE_CHARACTERS]}…"
        lines.append(LogLine(offset, plain(shown)))
        offset += len(raw)
    return lines


def _split(text: bytes) -> list[bytes]:
    """Lines with their newline; carriage returns and other separators are part of a line."""
    parts = text.split(b"\n")
    lines = [part + b"\n" for part in parts[:-1]]
    return [*lines, parts[-1]] if parts[-1] else lines
