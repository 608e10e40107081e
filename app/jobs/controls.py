"""Creates the controls of fusion jobs, or finds jobs that have their results already. Nothing here commits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlmodel import Session
from ulid import ULID

from app.jobs import control_queries, drafts, references
from app.jobs.planned_configs import configs_of
from app.jobs.references import References
from app.jobs.reuse import find_reusable, identity
from app.models import State
from app.settings import Settings
from core.run.content import ContentCache, describe_difference
from core.spec import ExpertSpec, FusionJob, JobSpec, SpecError, parse_stored, resolve
from core.spec.component_choices import Configs, part_config
from core.spec.controls import Control, ExpertRecipe, controls, recipe_of, untrained_recipe
from core.spec.outline import outline
from core.spec.seen_images import SeenImages

TAG = "control"


class ControlledJob(NamedTuple):
    """A fusion job that has been inserted, as it was submitted, with the columns of its row and its references."""

    job_id: str
    columns: Mapping[str, Any]
    spec: FusionJob
    references: References


class PlacedControl(NamedTuple):
    """A control of a job, with the job that it is: an existing one if `reused`.

    `columns` are those of its job; they and `job_id` are None if there cannot be one. `why_not` says why a job of the
    same specification is not reused.
    """

    of: ControlledJob
    control: Control
    columns: dict[str, Any] | None
    job_id: str | None
    reused: bool
    why_not: str | None


def plan_controls(settings: Settings, spec: JobSpec, refs: References, data_sha256: str | None) -> list[Control]:
    """The controls that a job as it was submitted requests; `data_sha256` is the content of its data, if known."""
    if not isinstance(spec, FusionJob) or not spec.controls:
        return []
    configs = configs_of(spec, refs)
    recipes = [
        _with_data(settings, spec, refs, k, recipe, data_sha256)
        for k, recipe in enumerate(_recipes(spec, refs, configs))
    ]
    return controls(spec, recipes, outline(spec, configs).parameters["total"])


def place(
    session: Session,
    settings: Settings,
    jobs: Sequence[ControlledJob],
    pending: Mapping[tuple[Any, ...], str] = MappingProxyType({}),
) -> list[PlacedControl]:
    """Finds an equal job for every control of jobs that have none yet, or assigns a new id; equal ones become one.

    `pending` are ids of jobs that are about to be inserted, by identity.
    """
    known = control_queries.jobs_with_controls(session, [job.job_id for job in jobs])
    planned = [
        (job, control, _columns(job, control))
        for job in jobs
        if job.job_id not in known
        for control in plan_controls(settings, job.spec, job.references, job.columns.get("data_sha256"))
    ]
    matches = iter(find_reusable(session, settings, [columns for *_, columns in planned if columns is not None]))
    new: dict[tuple[Any, ...], str] = {}
    placed = []
    for of, control, columns in planned:
        if columns is None:
            placed.append(PlacedControl(of, control, None, None, False, None))
            continue
        match = next(matches)
        existing = match.job_id or pending.get(identity(columns))
        job_id = existing or new.setdefault(identity(columns), f"job_{ULID()}")
        placed.append(PlacedControl(of, control, columns, job_id, existing is not None, match.why_not))
    return placed


def create(session: Session, settings: Settings, jobs: Sequence[ControlledJob]) -> None:
    """Inserts the controls of jobs that have none yet. Nudges nobody."""
    rows: list[dict[str, Any]] = []
    inserted: dict[str, drafts.Draft] = {}
    positions: dict[str, int] = {}
    for of, control, columns, job_id, reused, _ in place(session, settings, jobs):
        if columns is not None and job_id is not None and not reused and job_id not in inserted:
            assert control.spec is not None
            draft = drafts.new_job(control.spec, references.check(session, control.spec), columns | {"id": job_id})
            inserted[job_id] = draft._replace(tags=sorted({*draft.tags, TAG}))
        position = positions[of.job_id] = positions.get(of.job_id, -1) + 1
        rows.append(
            {
                "job_id": of.job_id,
                "role": control.role,
                "position": position,
                "control_job_id": job_id,
                "reused": reused,
                "absent": control.absent,
            }
        )
    drafts.insert_jobs(session, list(inserted.values()))
    control_queries.insert_controls(session, rows)


def _columns(job: ControlledJob, control: Control) -> dict[str, Any] | None:
    if control.spec is None:
        return None
    # The same dataset, so its content is known already.
    data = {name: job.columns.get(name) for name in ("data_sha256", "software_key", "owner")}
    return drafts.job_columns(control.spec) | data


def _with_data(
    settings: Settings, spec: FusionJob, refs: References, k: int, recipe: ExpertRecipe, data_sha256: str | None
) -> ExpertRecipe:
    """A recipe that says so if expert k was trained on other data of the same name than there are now."""
    source = spec.experts[k if len(spec.experts) > 1 else 0].source
    row = None if source is None else refs.rows[source]
    if row is None or data_sha256 is None or not isinstance(recipe.seen, SeenImages):
        return recipe
    # A job that has yet to start will read what there is now.
    if row.data_sha256 in (None, data_sha256) or row.state in (State.waiting, State.queued, State.starting):
        return recipe
    if row.spec["dataset"]["name"] != spec.dataset.name:
        return recipe
    difference = describe_difference(row.data_sha256 or "", data_sha256, ContentCache(settings.content_cache))
    detail = f" ({difference})" if difference else ""
    return replace(recipe, seen=f"was trained on other data than {spec.dataset.name} has now{detail}")


def _recipes(spec: FusionJob, refs: References, configs: Configs) -> list[ExpertRecipe]:
    """How each expert came to be."""
    experts = resolve(spec).model_dump()["experts"]
    named = spec.experts * len(experts) if len(spec.experts) == 1 else spec.experts
    return [
        _recipe(k, expert, refs, part_config(configs.get(f"experts.{k}", {}), f"experts.{k}"), options)
        for k, (expert, options) in enumerate(zip(named, experts, strict=True))
    ]


def _recipe(
    k: int, expert: ExpertSpec, refs: References, config: Mapping[str, Any], options: Mapping[str, Any]
) -> ExpertRecipe:
    """Of expert k with these options, or with the config of the component that it starts from."""
    if expert.source is None:
        return untrained_recipe(options)
    row = refs.rows[expert.source]
    try:
        source = parse_stored(row.spec)
    except SpecError:
        source = None
    name = row.name or expert.source.component or ""
    # Of a complete model it is the expert of the same number.
    index = int(name.removeprefix("expert_")) if name.startswith("expert_") else k
    saved = {"arch": config.get("arch") or expert.arch, "feature_dim": config.get("options_feature_dim")}
    return recipe_of({"dropout": expert.dropout} | saved, source, index)
