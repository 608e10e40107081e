"""The retention policy as admins write it, and what a run of it deletes."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from app.jobs.schemas import Time
from core.spec.fields import ONE_LINE, SafeName

EndState = Literal["succeeded", "failed", "cancelled"]
What = Literal["job", "checkpoints"]
RuleName = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=ONE_LINE)]


class _PolicyModel(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class Rule(_PolicyModel):
    """Which ended jobs are deleted: those for which all conditions hold."""

    name: RuleName
    states: Annotated[list[EndState], Field(min_length=1, max_length=3, description="The job is in one of these.")]
    tags: Annotated[list[SafeName], Field(max_length=32, description="The job has all of these.")] = []
    older_than_days: Annotated[
        float, Field(ge=0.0, le=36_500.0, description="The job ended longer ago than this; may be a fraction.")
    ]
    in_sweeps: Annotated[
        bool | None, Field(description="true: only jobs of sweeps; false: only others; null: both.")
    ] = None
    keep_best_of_sweep: Annotated[
        int | None,
        Field(ge=1, le=10_000, description="Spares the jobs of this many best rows of each sweep's leaderboard."),
    ] = None
    delete: Annotated[
        What, Field(description="The job with all its files, or only the checkpoints that a retry resumes from.")
    ]


class Policy(_PolicyModel):
    """The rules, of which any may delete a job, and the tags that protect a job from all of them."""

    rules: Annotated[list[Rule], Field(max_length=50)]
    protected_tags: Annotated[list[SafeName], Field(max_length=50)] = ["keep"]

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [rule.name for rule in self.rules]
        for rule in self.rules:
            if names.count(rule.name) > 1:
                raise ValueError(f"two rules have the name {rule.name!r}: give each a name of its own")
            if rule.in_sweeps is False and rule.keep_best_of_sweep is not None:
                raise ValueError(f"the rule {rule.name!r} has in_sweeps false, so leave out keep_best_of_sweep")
            for tag in rule.tags:
                if tag in self.protected_tags:
                    raise ValueError(f"the rule {rule.name!r} can delete nothing: its tag {tag!r} is a protected one")
        return self


class RunSummary(BaseModel):
    """A run that deleted something: jobs, and checkpoints of so many other jobs."""

    started_at: Time
    started_by: str
    jobs: int
    checkpoints: int
    bytes_freed: int


class RetentionView(BaseModel):
    """The policy, when workers apply it next (null: it has no rules), and the latest runs that deleted something."""

    policy: Policy
    changed_at: Time | None
    changed_by: str | None
    last_run_at: Time | None
    next_run_at: Time | None
    runs: list[RunSummary]


class DeletionView(BaseModel):
    """What is deleted of a job, and by which rule. `bytes_freed` is null where it was not measured."""

    job: str
    name: str
    owner: str
    rule: str
    what: What
    bytes_freed: int | None


class RunReport(BaseModel):
    """What a run deleted, or would delete: totals, and the first jobs.

    `complete` is false if the time of a request was over before: a run has then deleted only these, and workers go on;
    a dry run has counted all, but measured the bytes of only some.
    """

    dry_run: bool
    complete: bool
    jobs: int
    checkpoints: int
    bytes_freed: int
    items: list[DeletionView]
