"""Verdicts of reports that this process has computed, for pages that must not wait for one."""

from __future__ import annotations

import threading
from typing import NamedTuple

from sqlmodel import Session

from app.jobs.control_queries import ControlRow, list_controls
from app.models import Job
from app.results.report.schemas import Report

MAX_VERDICTS = 1_024
_State = tuple[ControlRow, ...]


class Verdict(NamedTuple):
    """What a report says first: a sentence, and the difference from the best control as a share, if there is one."""

    sentence: str
    difference: float | None


# Verdicts by job, oldest first, each with the controls of which it speaks.
_verdicts: dict[str, tuple[_State, Verdict]] = {}
_lock = threading.Lock()


def keep_verdict(session: Session, job: Job, report: Report) -> None:
    """Keeps the verdict of a report that was computed just now."""
    best = next((one for one in report.controls if one.label == report.best_control), None)
    difference = best.fused_minus.value if best is not None and best.fused_minus is not None else None
    state = tuple(list_controls(session, job.id))
    with _lock:
        while len(_verdicts) >= MAX_VERDICTS:
            del _verdicts[next(iter(_verdicts))]
        _verdicts[job.id] = (state, Verdict(report.verdict, difference))


def known_verdict(job: Job, controls: list[ControlRow]) -> Verdict | None:
    """The verdict of a job whose report was computed here, unless one of its controls has changed since."""
    with _lock:
        state, verdict = _verdicts.get(job.id, ((), None))
    return verdict if state == tuple(controls) else None
