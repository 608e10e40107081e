"""Log records as API and worker would write them."""

from __future__ import annotations

import io
import json
import logging
from typing import Any, Self

from app.operations.logs import make_handler
from app.settings import Settings


class Records:
    """Everything that is logged while this context is active."""

    def __init__(self, settings: Settings, level: int = logging.WARNING) -> None:
        self._stream = io.StringIO()
        self._handler = make_handler(settings, self._stream)
        self._level = level

    def __enter__(self) -> Self:
        root = logging.getLogger()
        # In place of pytest's: a captured record that cannot be encoded would end a test process that reports it.
        self._before = root.level, root.handlers
        root.handlers = [self._handler]
        root.setLevel(self._level)
        return self

    def __exit__(self, *_: object) -> None:
        root = logging.getLogger()
        level, root.handlers = self._before
        root.setLevel(level)

    def text(self) -> str:
        """What was written."""
        return self._stream.getvalue()

    def all(self) -> list[dict[str, Any]]:
        """The records, in the form `json`."""
        return [json.loads(line) for line in self.text().splitlines()]
