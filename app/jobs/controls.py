"""Creates the controls of fusion jobs, or finds jobs that have their results already. Nothing here commits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlmodel import Session
from ulid import ULID

from app.jobs import control_queries, drafts, references
from app.jobs.planned_configs import configs_of
from app.jobs.references import References
from app.jobs.reuse import Match, find_reusable, wants_predictions
from app.settings import Settings
from core.spec import ExpertSpec, FusionJob, JobSpec, SpecError, parse_stored, resolve
from core.spec.component_choices import Configs, part_config
from core.spec.controls import Control, ExpertRecipe, controls, recipe_of
from core.spec.outline import outline

TAG = "control"


class ControlledJob(NamedTuple):
    """A fusion job that has been inserted, as it was submitted, with the columns of its row and its references."""

    job_id: str
    columns: Mapping[str, Any]
    spec: FusionJob
    references: References


class _Planned(NamedTuple):
    """A control and the columns of its job; none if there cannot be one."""

    of: ControlledJob
    control: Control
    columns: dict[str, Any] | None


def plan_controls(spec: JobSpec, refs: References) -> list[Control]:
    """The controls that a job as it was submitted requests."""
    if not isinstance(spec, FusionJob) or not spec.controls:
        return []
    configs = configs_of(spec, refs)
    return controls(spec, _recipes(spec, refs, configs), outline(spec, configs).parameters["total"])


def create(session: Session, settings: Settings, jobs: Sequence[ControlledJob]) -> None:
    """Inserts the controls of jobs that have none yet; equal ones of several jobs become one. Nudges nobody."""
    known = control_queries.jobs_with_controls(session, [job.job_id for job in jobs])
    planned = [
        _Planned(job, control, _columns(job, control))
        for job in jobs
        if job.job_id not in known
        for control in plan_controls(job.spec, job.references)
    ]
    wanted = [one.columns for one in planned if one.columns is not None]
    matches = iter(find_reusable(session, settings, wanted))
    new: dict[tuple[str, Any], str] = {}
    rows: list[dict[str, Any]] = []
    inserted: list[drafts.Draft] = []
    positions: dict[str, int] = {}
    for of, control, columns in planned:
        match = next(matches) if columns is not None else Match(None)
        job_id = match.job_id
        if columns is not None and job_id is None:
            key = columns["digest"], wants_predictions(columns)
            job_id = new.get(key)
            if job_id is None:
                assert control.spec is not None
                job_id = new[key] = f"job_{ULID()}"
                draft = drafts.new_job(control.spec, references.check(session, control.spec), columns | {"id": job_id})
                inserted.append(draft._replace(tags=sorted({*draft.tags, TAG})))
        position = positions[of.job_id] = positions.get(of.job_id, -1) + 1
        rows.append(
            {
                "job_id": of.job_id,
                "role": control.role,
                "position": position,
                "control_job_id": job_id,
                "reused": match.job_id is not None,
                "absent": control.absent,
            }
        )
    drafts.insert_jobs(session, inserted)
    control_queries.insert_controls(session, rows)


def _columns(job: ControlledJob, control: Control) -> dict[str, Any] | None:
    if control.spec is None:
        return None
    # The same dataset, so its content is known already.
    data = {name: job.columns.get(name) for name in ("data_sha256", "software_key", "owner")}
    return drafts.job_columns(control.spec) | data


def _recipes(spec: FusionJob, refs: References, configs: Configs) -> list[ExpertRecipe]:
    """How each expert came to be."""
    experts = resolve(spec).model_dump()["experts"]
    named = spec.experts * len(experts) if len(spec.experts) == 1 else spec.experts
    return [
        _recipe(expert, refs, part_config(configs.get(f"experts.{k}", {}), f"experts.{k}"), options)
        for k, (expert, options) in enumerate(zip(named, experts, strict=True))
    ]


def _recipe(
    expert: ExpertSpec, refs: References, config: Mapping[str, Any], options: Mapping[str, Any]
) -> ExpertRecipe:
    """Of an expert with these options, or with the config of the component that it starts from."""
    if expert.source is None:
        return recipe_of(options, None)
    try:
        source = parse_stored(refs.rows[expert.source].spec)
    except SpecError:
        source = None
    saved = {"arch": config.get("arch") or expert.arch, "feature_dim": config.get("options_feature_dim")}
    return recipe_of({"dropout": expert.dropout} | saved, source)
