"""Runs what must not block, so that a regression fails a test instead of hanging it."""

from __future__ import annotations

import threading
from collections.abc import Callable

DEADLINE_S = 60.0


def result_in_time(action: Callable[[], object]) -> object:
    """What `action` returns or raises; fails if it still runs after a minute."""
    results: list[object] = []

    def run() -> None:
        try:
            results.append(action())
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(DEADLINE_S)
    assert results, "the call still blocks"
    return results[0]
