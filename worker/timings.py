"""How long a worker's rounds take, and how late it reads event logs: for its heartbeat, and so for `GET /metrics`."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Timings:
    """Durations of one worker, whose two threads both record here."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rounds: dict[str, float] = {}
        self._ingest_lag_s = 0.0

    @contextmanager
    def measured(self, kind: str) -> Iterator[None]:
        """Records how long one round takes; the latest of each kind counts."""
        began = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self._rounds[kind] = time.monotonic() - began

    def record_lag(self, seconds: float) -> None:
        """Records the age of the oldest event of a block that is being read."""
        with self._lock:
            self._ingest_lag_s = max(self._ingest_lag_s, seconds)

    def take(self) -> dict[str, float]:
        """Seconds: the latest round of each kind, and the largest lag since the last call."""
        with self._lock:
            lag_s, self._ingest_lag_s = self._ingest_lag_s, 0.0
            rounds = {f"{kind}_round_s": round(seconds, 4) for kind, seconds in self._rounds.items()}
        return {**rounds, "ingest_lag_s": round(lag_s, 4)}
