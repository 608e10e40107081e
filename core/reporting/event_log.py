"""The event log of a run: appended JSON lines."""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.reporting.protocol import EventKind
from core.run.durable import DamagedFileError


class EventLog:
    """Appends each event as one line `{"seq", "time", "kind", "data"}` with a single write.

    An event that a crash cut short has no newline, so that readers never take it for a line; it is removed when the log
    is opened again. Sequence numbers rise by one per line, also across restarts. Numbers that are not finite become
    null.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._seq = _repair(path)
        # Components are reported from the writer's thread.
        self._lock = threading.Lock()
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def emit(self, kind: EventKind, data: Mapping[str, Any]) -> None:
        with self._lock:
            self._seq += 1
            event = {"seq": self._seq, "time": datetime.now(UTC).isoformat(), "kind": kind, "data": _finite(data)}
            line = memoryview(json.dumps(event, allow_nan=False).encode() + b"\n")
            while line:
                line = line[os.write(self._file, line) :]

    def close(self) -> None:
        os.close(self._file)


def read_events(path: Path) -> list[dict[str, Any]]:
    """The complete events of a log, in order; an incomplete last line is skipped."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def _repair(path: Path) -> int:
    """Removes an incomplete last line, and returns the last sequence number."""
    if not path.exists():
        return 0
    with path.open("r+b") as file:
        content = file.read()
        complete = content.rfind(b"\n") + 1
        if complete < len(content):
            file.truncate(complete)
    lines = content[:complete].splitlines()
    try:
        return int(json.loads(lines[-1])["seq"]) if lines else 0
    except (ValueError, KeyError, TypeError):
        raise DamagedFileError(path, "does not end with an event: move it away to continue without it") from None


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
