"""The queue with the reason why each job has not started."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from app.models import Job


@dataclass
class QueueEntry:
    """A job with its place among the jobs that are shown, and how many of its sweep follow for the same reason."""

    position: int
    job: Job
    sentence: str
    others: int = 0


def grouped(explained: Iterable[tuple[Job, str]]) -> list[QueueEntry]:
    """One entry for jobs of a sweep that follow one another and have the same explanation."""
    entries: list[QueueEntry] = []
    for position, (job, sentence) in enumerate(explained, start=1):
        last = entries[-1] if entries else None
        if last is not None and job.sweep and last.job.sweep == job.sweep and last.sentence == sentence:
            last.others += 1
        else:
            entries.append(QueueEntry(position, job, sentence))
    return entries
