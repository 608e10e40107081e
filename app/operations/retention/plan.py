"""Which jobs a policy deletes now. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

from sqlmodel import Session

from app.operations.retention import queries
from app.operations.retention.queries import Match
from app.operations.retention.schemas import Policy, Rule, What
from app.sweeps.views import best_jobs


class Deletion(NamedTuple):
    """A job that a rule deletes, or of which it deletes the checkpoints."""

    match: Match
    rule: Rule

    @property
    def what(self) -> What:
        """What is deleted of the job."""
        return self.rule.delete


def plan(session: Session, policy: Policy, at: datetime) -> list[Deletion]:
    """What a policy deletes at a time, in this order: jobs, each before its controls, then checkpoints of other jobs.

    The first rule that deletes a job counts.
    """
    jobs = _with_controls_last(session, _matches(session, policy, at, "job", ()))
    planned = {deletion.match.job_id for deletion in jobs}
    return jobs + list(_matches(session, policy, at, "checkpoints", planned).values())


def _matches(
    session: Session, policy: Policy, at: datetime, what: What, planned: Collection[str]
) -> dict[str, Deletion]:
    deletions: dict[str, Deletion] = {}
    for rule in policy.rules:
        if rule.delete != what:
            continue
        matches = queries.matching_jobs(session, rule, policy.protected_tags, at)
        matches = [match for match in matches if match.job_id not in planned and match.job_id not in deletions]
        spared = _best(session, rule, matches)
        deletions |= {match.job_id: Deletion(match, rule) for match in matches if match.job_id not in spared}
    return deletions


def _best(session: Session, rule: Rule, matches: list[Match]) -> set[str]:
    if rule.keep_best_of_sweep is None:
        return set()
    sweeps = queries.sweeps_of(session, [match.job_id for match in matches])
    return {job_id for sweep in sweeps for job_id in best_jobs(session, sweep, rule.keep_best_of_sweep)}


def _with_controls_last(session: Session, deletions: dict[str, Deletion]) -> list[Deletion]:
    """Without controls of jobs that stay, whose reports need them; a control may be a job with controls itself."""
    controlled = queries.controlled_jobs(session, list(deletions))
    ordered: dict[str, Deletion] = {}
    left = dict(deletions)
    while ready := [job_id for job_id in left if controlled.get(job_id, set()) <= ordered.keys()]:
        ordered |= {job_id: left.pop(job_id) for job_id in ready}
    return list(ordered.values())
