"""A client that follows the events of all jobs through every fault, as a dashboard does."""

from __future__ import annotations

import contextlib
import threading
import time

import httpx

from app.cli.event_stream import parse_events
from tests.faults.stack import Stack

# Of a stream that nothing comes from, not even the comment that the service sends every 15 seconds.
SILENCE_LIMIT_S = 20.0


class Follower(threading.Thread):
    """Reads the event stream of all jobs from an id on, and continues after every interruption where it was."""

    def __init__(self, stack: Stack, after: int) -> None:
        super().__init__(daemon=True)
        self._stack = stack
        self._is_over = threading.Event()
        # The ids of the state events that came, in the order in which they came, and where this follower began.
        self.ids: list[int] = []
        self.after = after

    def run(self) -> None:
        token = (self._stack.settings.data_dir / "admin-token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
        timeout = httpx.Timeout(10.0, read=SILENCE_LIMIT_S)
        while not self._is_over.is_set():
            last = str(self._last())
            with contextlib.suppress(httpx.HTTPError), httpx.Client(timeout=timeout) as http:
                url = f"{self._stack.settings.api_url}/events"
                arguments = {"params": {"type": "state"}, "headers": headers | {"Last-Event-ID": last}}
                with http.stream("GET", url, **arguments) as response:  # type: ignore[arg-type]
                    if response.status_code == 200:
                        for event in parse_events(response.iter_lines()):
                            self.ids.append(int(event["id"]))
                            if self._is_over.is_set():
                                return
            self._is_over.wait(0.1)

    def wait_for(self, event_id: int, limit_s: float) -> None:
        """Waits until it has an event, or the time is up."""
        deadline = time.monotonic() + limit_s
        while self._last() < event_id and time.monotonic() < deadline:
            time.sleep(0.02)

    def end(self) -> None:
        """Ends with the next event, or with the connection."""
        self._is_over.set()

    def _last(self) -> int:
        return self.ids[-1] if self.ids else self.after
