"""A service with scripted event streams."""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import httpx

Event = tuple[int, str, dict[str, Any]]


def make_job(job_id: str, state: str = "running", **fields: Any) -> dict[str, Any]:
    progress = {"epoch": 1, "epochs": 4, "step": 10, "fraction": 0.25, "images_per_s": None, "eta_s": None}
    job: dict[str, Any] = {"id": job_id, "kind": "expert", "name": job_id, "state": state, "reason": None}
    return job | {"message": None, "waits_for": [], "progress": progress, "metrics": {}} | fields


def state_event(event_id: int, state: str) -> Event:
    return event_id, "state", {"state": state}


def progress_event(event_id: int, step: int, steps: int = 40) -> Event:
    return event_id, "progress", {"step": step, "steps": steps, "images_per_s": 5.0, "eta_s": 1.0}


class EventStream(httpx.SyncByteStream):
    """Events as a service sends them; the connection breaks after the last one if `breaks`."""

    def __init__(self, events: Sequence[Event], *, breaks: bool) -> None:
        self._events = events
        self._breaks = breaks

    def __iter__(self) -> Iterator[bytes]:
        yield b": comment\n\n"
        for event_id, kind, data in self._events:
            yield f"id: {event_id}\nevent: {kind}\ndata: {json.dumps(data)}\n\n".encode()
        if self._breaks:
            raise httpx.ReadError("connection reset")


class StreamService:
    """Jobs that are `running` until their events say otherwise.

    Each connection to a job's stream gets the events after its `Last-Event-ID` up to the next id in `breaks_after`.
    The streams of `polled` jobs are refused; each read of such a job takes it one event further.
    """

    def __init__(
        self, events: dict[str, list[Event]], *, breaks_after: Sequence[int] = (), polled: Collection[str] = ()
    ) -> None:
        self.events = events
        self.breaks_after = list(breaks_after)
        self.polled = polled
        self.last_event_ids: list[int] = []
        self.reads: list[str] = []
        self._sent: dict[str, int] = dict.fromkeys(events, 0)
        self._lock = threading.Lock()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        _, _, job_id, *rest = request.url.path.split("/")
        with self._lock:
            return self._stream(job_id, request) if rest == ["events"] else self._read(job_id)

    def _stream(self, job_id: str, request: httpx.Request) -> httpx.Response:
        after = int(request.headers["last-event-id"])
        self.last_event_ids.append(after)
        if job_id in self.polled:
            return httpx.Response(406, json={"detail": "no streams here"})
        end = next((event_id for event_id in self.breaks_after if event_id > after), None)
        events = [event for event in self.events[job_id] if event[0] > after and (end is None or event[0] <= end)]
        if end is None:
            self._sent[job_id] = len(self.events[job_id])
        headers = {"content-type": "text/event-stream; charset=utf-8"}
        return httpx.Response(200, headers=headers, stream=EventStream(events, breaks=end is not None))

    def _read(self, job_id: str) -> httpx.Response:
        self.reads.append(job_id)
        if job_id in self.polled:
            self._sent[job_id] += 1
        states = [data["state"] for _, kind, data in self.events[job_id][: self._sent[job_id]] if kind == "state"]
        return httpx.Response(200, json=make_job(job_id, (states or ["running"])[-1]))
