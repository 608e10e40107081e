"""The `result.json` of a job, as its run directory has it."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from app.http.errors import NotFound, NotReady
from app.models import TERMINAL_STATES, Job, State
from app.settings import Settings
from core.run.rundir import RunDir


class StoredResult(NamedTuple):
    """A result: the content of its file, and its fields, of which `metrics` is an object."""

    content: bytes
    fields: dict[str, Any]


def stored_result(settings: Settings, job: Job, *, what: str = "result") -> StoredResult:
    """The result of a job that has succeeded; raises NotReady or NotFound, which say why there is no `what`."""
    try:
        content = RunDir(settings.runs_dir / job.id).result.read_bytes()
        fields = json.loads(content)
        if not isinstance(fields["metrics"], dict):
            raise TypeError
    except FileNotFoundError:
        if job.state == State.succeeded:
            raise file_is_gone(job, "the result.json") from None
        state = State(job.state).value
        if state in TERMINAL_STATES:
            raise NotReady(f"{job.id} is {state} and has no {what}: only jobs that succeed have one") from None
        raise NotReady(f"{job.id} is {state} and has no {what} yet: it is written when the job succeeds") from None
    except (OSError, ValueError, RecursionError, TypeError, KeyError):
        again = f"To measure the model again, {how_to_measure_again(job)}"
        raise NotFound(f"the result.json of {job.id} is damaged and cannot be read. {again}") from None
    return StoredResult(content, dict(fields))


def file_is_gone(job: Job, what: str) -> NotFound:
    """The error for a file that a job has written and that is not there any more."""
    return NotFound(
        f"{what} of {job.id} is not where the job left it: if its folder, in runs of the data folder, was moved or is "
        "not mounted, bring it back"
    )


def how_to_measure_again(job: Job) -> str:
    """What gives the figures of the same model again, as a clause."""
    # An evaluate job needs a fusion module, which a job that trains one expert does not have.
    if job.kind in ("expert", "evaluate"):
        return "submit the job again"
    return "submit an evaluate job of its components"
