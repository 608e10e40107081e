"""What a person can do with a job, by its state, its owner and the person's role."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from app.auth.principals import Principal
from app.jobs.report_schemas import Action, Explanation
from app.jobs.transitions import TRANSITIONS
from app.models import TERMINAL_STATES, Role, State

_CHANGE = re.compile(r"/jobs/(job_[0-9A-Z]{26})/(cancel|pause|resume|retry)")
RESOURCES = ("memory_gb", "cpus", "gpus", "time_limit_min")


class Change(NamedTuple):
    """A form that changes the state of a job. `resources` are hidden fields of it."""

    label: str
    verb: str
    job: str
    style: str = ""
    confirm: str = ""
    resources: dict[str, Any] = {}

    @property
    def url(self) -> str:
        """Where the form is sent."""
        return f"/ui/jobs/{self.job}/{self.verb}"


class Link(NamedTuple):
    """A next step that changes nothing."""

    label: str
    url: str
    style: str = ""


class Actions(NamedTuple):
    """`adjust` is the verb whose form also takes new resources; `can_delete` is for jobs that have ended.

    With `clone_first` a changed copy is the most sensible step.
    """

    changes: list[Change]
    links: list[Link]
    commands: list[str]
    adjust: str | None
    can_delete: bool
    clone_first: bool


def may_change(principal: Principal, owner: str) -> bool:
    """Whether a person may change the jobs of an owner."""
    return principal.role.includes(Role.member) and (principal.role is Role.admin or principal.owner == owner)


def actions(job_id: str, state: State, explanation: Explanation, *, allowed: bool, can_retry: bool = True) -> Actions:
    """The actions for a job; without the right to change it only links and commands, and no retry that is refused."""
    suggested = [_change(action) for action in explanation.actions]
    own = [change for change in _own_changes(job_id, state) if can_retry or change.verb != "retry"]
    # A suggestion with other resources, or about another job, comes in addition.
    extra = [change for change in suggested if change and (change.job != job_id or change.resources)]
    changes = extra + own if allowed else []
    links = [link for link in (_link(job_id, action) for action in explanation.actions) if link is not None]
    clone_first = any(action.path == f"/jobs/{job_id}" for action in explanation.actions[:1])
    if not clone_first:
        changes, links = _with_primary(changes, links)
    adjust = {State.paused: "resume", State.queued: "resume"}
    if can_retry:
        adjust |= {State.failed: "retry", State.cancelled: "retry"}
    return Actions(
        changes=changes,
        links=links,
        commands=[action.command for action in explanation.actions],
        adjust=adjust.get(state) if allowed else None,
        can_delete=allowed and state in TERMINAL_STATES,
        clone_first=clone_first,
    )


def _with_primary(changes: list[Change], links: list[Link]) -> tuple[list[Change], list[Link]]:
    """Marks the next step that a person most likely wants: one that brings the job forward, else one that reads."""
    forward = next((change for change in changes if change.verb in ("resume", "retry")), None)
    if forward is not None:
        return [change._replace(style="primary") if change is forward else change for change in changes], links
    return changes, [link._replace(style="primary") if k == 0 else link for k, link in enumerate(links)]


def _own_changes(job_id: str, state: State) -> list[Change]:
    targets = TRANSITIONS[state]
    changes = []
    if State.pausing in targets:
        changes.append(Change("Pause", "pause", job_id))
    if state is State.paused:
        changes.append(Change("Resume", "resume", job_id))
    if state in (State.failed, State.cancelled):
        changes.append(Change("Retry", "retry", job_id))
    if State.cancelled in targets or State.cancelling in targets:
        question = "Cancel this job? What it has trained so far is kept, and it can be retried."
        changes.append(Change("Cancel", "cancel", job_id, "danger", question))
    return changes if state is not State.cancelling else []


def _change(action: Action) -> Change | None:
    match = _CHANGE.fullmatch(action.path or "") if action.method == "POST" else None
    if match is None:
        return None
    resources = (action.body or {}).get("resources", {})
    return Change(action.label, match[2], match[1], resources=dict(resources))


def _link(job_id: str, action: Action) -> Link | None:
    if action.method != "GET":
        return None
    pages = {f"/jobs/{job_id}/logs": f"/ui/jobs/{job_id}/log", f"/jobs/{job_id}/components": "#components"}
    url = pages.get(action.path or "")
    return Link(action.label, url) if url else None
