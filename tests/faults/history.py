"""What happened to jobs, in words, for whoever looks for the cause of a violation."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from sqlalchemy import Engine
from sqlmodel import col, select

from app.db import iso, reading
from app.models import Attempt, Event, Job
from tests.faults.client import Record


def histories(engine: Engine, record: Record, problems: Sequence[str]) -> str:
    """The answers, events and attempts of every job that a problem names."""
    named = sorted(set(re.findall(r"job_\w{26}", " ".join(problems))))
    lines = [*problems, ""]
    for job_id in named:
        lines += [job_id, *_answers(record, job_id), *_stored(engine, job_id), ""]
    return "\n".join(lines)


def _answers(record: Record, job_id: str) -> Iterator[str]:
    for answer in record.answers:
        shown = answer.job["state"] if answer.job else answer.text
        if (answer.job and answer.job["id"] == job_id) or job_id in answer.path:
            yield f"  {answer.at:.3f} {answer.method} {answer.path} {answer.status} in {answer.waited_s:.2f} s, {shown}"


def _stored(engine: Engine, job_id: str) -> Iterator[str]:
    with reading(engine) as session:
        job = session.get(Job, job_id)
        yield f"  {job.model_dump(exclude={'spec', 'plan', 'defaulted'}) if job else 'no such job'}"
        events = select(Event).where(Event.job_id == job_id, Event.type == "state").order_by(col(Event.id))
        for event in session.exec(events):
            yield f"  event {event.id} {iso(event.time)} {event.data}"
        for attempt in session.exec(select(Attempt).where(Attempt.job_id == job_id).order_by(col(Attempt.number))):
            yield f"  attempt {attempt.model_dump(exclude={'job_id', 'identity'})}"
