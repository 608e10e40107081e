"""An event as streams send it: encoded once for all subscribers, and what a subscriber that is behind may miss."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from app.models import TERMINAL_STATES

# A subscriber for which more events than these wait is behind.
BEHIND = 100
# What is handed to a connection at a time. A client that does not read holds about twice as much in memory.
PART_BYTES = 64 << 10


class EncodedEvent(NamedTuple):
    """An event of a job in the form of a stream. Of those with the same `key`, a newer one supersedes the older ones.

    `key` is null if the event must reach every subscriber.
    """

    id: int
    job_id: str
    type: str
    ends_job: bool
    key: str | None
    frame: bytes

    def frame_with_id(self, event_id: int) -> bytes:
        """The frame of an event that is sent late, after events with higher ids."""
        return b"id: %d" % event_id + self.frame[self.frame.index(b"\n") :]


@dataclass(frozen=True)
class StreamedEvent:
    """An event of a job as it is stored, without the time, which streams do not send."""

    job_id: str
    id: int
    type: str
    data: dict[str, Any]

    @cached_property
    def encoded(self) -> EncodedEvent:
        """For the stream of one job."""
        return self._encode(self.data)

    @cached_property
    def encoded_with_job(self) -> EncodedEvent:
        """For a stream of many jobs, where `data` names the job."""
        return self._encode({**self.data, "job": self.job_id})

    def _encode(self, data: dict[str, Any]) -> EncodedEvent:
        frame = f"id: {self.id}\nevent: {self.type}\ndata: {json.dumps(data)}\n\n".encode()
        ends_job = self.type == "state" and self.data.get("state") in TERMINAL_STATES
        return EncodedEvent(self.id, self.job_id, self.type, ends_job, self._key(), frame)

    def _key(self) -> str | None:
        if self.type == "progress":
            return f"progress {self.job_id}"
        if self.type == "metrics":
            # The same metrics: after the newest of each kind, a client has the same latest values as after all of them.
            names = sorted(self.data.get("values") or ())
            return sys.intern("\0".join((f"metrics {self.job_id}", *names)))
        return None


@dataclass(frozen=True)
class EventFilter:
    """The jobs and the types of events; None means all."""

    jobs: Collection[str] | None = None
    types: Collection[str] | None = None

    def matches(self, event: EncodedEvent | StreamedEvent) -> bool:
        """Whether an event is one of these."""
        return (self.jobs is None or event.job_id in self.jobs) and (self.types is None or event.type in self.types)


def coalesce(events: Sequence[EncodedEvent]) -> Sequence[EncodedEvent]:
    """The events without those that a newer one supersedes, if there are so many that the subscriber is behind."""
    if len(events) <= BEHIND:
        return events
    newest = {event.key: event.id for event in events}
    return [event for event in events if event.key is None or newest[event.key] == event.id]


def first_part(events: Sequence[EncodedEvent]) -> Sequence[EncodedEvent]:
    """The first events up to about `PART_BYTES`, at least one."""
    size = 0
    for number, event in enumerate(events):
        size += len(event.frame)
        if size > PART_BYTES and number:
            return events[:number]
    return events
