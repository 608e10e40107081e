"""Parts of a log file by byte offset: a window that begins at a line, and the lines that contain a text."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from app.http.errors import NotFound
from app.models import Job

MAX_WINDOW_BYTES = 4 << 20
# Of a line that is longer, the middle can be the beginning of a window.
MAX_LINE_BYTES = 64 << 10
MAX_HITS = 200
MAX_SEARCH_BYTES = 256 << 20
MAX_HIT_CHARACTERS = 500
_BLOCK_BYTES = 1 << 20


def requested_attempt(job: Job, attempt: int | None) -> int:
    """The attempt whose log was requested, or the latest; raises NotFound."""
    if attempt is not None and attempt > job.attempt:
        raise NotFound(f"{job.id} has no attempt {attempt}: it has had {job.attempt}")
    return attempt or job.attempt


class Window(NamedTuple):
    """Bytes `start` to `end` (exclusive) of a file of `size` bytes."""

    text: bytes
    start: int
    end: int
    size: int


def read_window(file: Path, at: int, count: int) -> Window:
    """About `count` bytes from the beginning of the line that contains byte `at`, ending with a whole line.

    A line longer than the window is cut. The next window begins at `end`.
    """
    try:
        with file.open("rb") as source:
            size = source.seek(0, 2)
            start = min(at, size)
            # Looking back by less than the window, so that windows of one endless line advance.
            back = min(start, MAX_LINE_BYTES, count - 1)
            source.seek(start - back)
            before = source.read(back)
            newline = before.rfind(b"\n")
            if newline >= 0:
                start -= len(before) - newline - 1
            elif back == start:
                start = 0
            source.seek(start)
            text = source.read(count)
    except FileNotFoundError:
        return Window(b"", 0, 0, 0)
    if start + len(text) < size:
        text = text[: text.rfind(b"\n") + 1] or text
    return Window(text, start, start + len(text), size)


class Hit(NamedTuple):
    """A line that contains the text: its offset, and its first characters."""

    offset: int
    text: str


class SearchResult(NamedTuple):
    """Hits in order. `next_after` is where to go on; null at the end of the file, which had `size` bytes."""

    hits: list[Hit]
    next_after: int | None
    size: int


def search(file: Path, text: str, after: int) -> SearchResult:
    """Lines that contain a text, from byte `after` on; upper and lower case of ASCII letters are the same.

    Ends after `MAX_HITS` lines or `MAX_SEARCH_BYTES`.
    """
    needle = text.encode().lower()
    hits: list[Hit] = []
    try:
        with file.open("rb") as source:
            size = source.seek(0, 2)
            position = source.seek(min(after, size))
            limit = position + MAX_SEARCH_BYTES
            while position < min(size, limit):
                block = source.read(_BLOCK_BYTES)
                # To the end of its last line, if that is of a sensible length.
                block += source.readline(_BLOCK_BYTES) if not block.endswith(b"\n") else b""
                if not block:
                    break
                end = _collect(block, position, needle, hits)
                if len(hits) == MAX_HITS and end < len(block):
                    return SearchResult(hits, position + end, size)
                position += len(block)
    except FileNotFoundError:
        return SearchResult([], None, 0)
    return SearchResult(hits, position if position < size else None, size)


def _collect(block: bytes, position: int, needle: bytes, hits: list[Hit]) -> int:
    """Adds the hits of a block; returns how many bytes of the block have been searched."""
    lower = block.lower()
    searched = 0
    while len(hits) < MAX_HITS:
        match = lower.find(needle, searched)
        if match < 0:
            return len(block)
        start = lower.rfind(b"\n", 0, match) + 1
        end = lower.find(b"\n", match)
        end = len(block) if end < 0 else end
        # A character of UTF-8 has at most four bytes.
        line = block[start : min(end, start + 4 * MAX_HIT_CHARACTERS)].decode("utf-8", "replace")
        hits.append(Hit(position + start, line.rstrip("\r")[:MAX_HIT_CHARACTERS]))
        searched = min(end + 1, len(block))
    return searched
