"""The certificate of a job: what its result was computed from, where, and whether the same inputs give equal bits."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from sqlmodel import Session

from app.db import iso
from app.jobs import queries
from app.jobs.checkpoint_records import describe_checkpoints, kept_checkpoints, removed_checkpoints
from app.jobs.provenance_schemas import AttemptRecord, ComponentRecord, DataRecord, Provenance
from app.jobs.provenance_sources import describe_sources, source_records
from app.jobs.sources import source_jobs
from app.jobs.wording import count
from app.models import TERMINAL_STATES, Attempt, Job, State
from app.settings import Settings
from core.run.durable import DamagedFileError, read_manifest
from core.run.identity import RunIdentity
from core.run.rundir import RunDir

NOT_STARTED = "bit-exact: not known yet, since no attempt has started to train"
NEVER_TRAINED = "bit-exact: not known, since no attempt began to train"
NOT_RECORDED = "bit-exact: not known, since an earlier version trained it that did not record this"
# States that say how a job ended, without a result of which bits could be compared.
WITHOUT_RESULT = {State.failed: "failed", State.cancelled: "was cancelled"}


def provenance(session: Session, settings: Settings, job: Job) -> Provenance:
    """The certificate of a job, from the reports of its attempts and the manifests in its run directory."""
    attempts = queries.list_attempts(session, job.id)
    run_dir = RunDir(settings.runs_dir / job.id)
    identity = _identity_of(attempts)
    sources = source_jobs(session, job)
    kept = kept_checkpoints(run_dir)
    removed = removed_checkpoints(kept, attempts)
    return Provenance(
        job=job.id,
        sentence=sentence(job, attempts, identity),
        bit_exact=_is_bit_exact(job, identity),
        known=[
            *describe_segments(identity),
            describe_checkpoints(kept, removed),
            *describe_sources(sources, partial(_is_job_bit_exact, session)),
        ]
        if attempts
        else [],
        identity=(identity.digest or None) if identity else None,
        specification_sha256=job.digest,
        data=DataRecord(**identity.data) if identity and identity.data else None,
        sources=source_records(settings, job, sources),
        attempts=[
            AttemptRecord(
                attempt=attempt.number,
                executor=attempt.executor,
                host=attempt.host,
                started_at=iso(attempt.started_at),
                resumed_from=attempt.identity["resumed_from"] if attempt.identity else None,
                environment=attempt.identity["environment"] if attempt.identity else None,
            )
            for attempt in attempts
        ],
        changes={segment.step: list(segment.differences) for segment in identity.segments[1:]} if identity else {},
        checkpoints=kept,
        removed_checkpoints=removed,
        components=_components(run_dir),
    )


def _identity_of(attempts: Sequence[Attempt]) -> RunIdentity | None:
    reports = [attempt.identity for attempt in attempts if attempt.identity is not None]
    return RunIdentity.from_json(reports[-1]["run"]) if reports else None


def sentence(job: Job, attempts: Sequence[Attempt], identity: RunIdentity | None) -> str:
    """Whether the same inputs give the same bits, and if not, why not."""
    if identity is None:
        if any(attempt.last_step for attempt in attempts):
            return NOT_RECORDED
        return NEVER_TRAINED if job.state in TERMINAL_STATES else NOT_STARTED
    reasons = obstacles(job, identity)
    if reasons:
        return f"bit-exact: no, {'; '.join(reasons)}"
    if job.state not in TERMINAL_STATES:
        return f"bit-exact: not known until the job has ended; {_so_far(attempts)}"
    if job.state in WITHOUT_RESULT:
        why = f" ({job.reason})" if job.reason and job.state == State.failed else ""
        return f"bit-exact: not claimed, since the job {WITHOUT_RESULT[State(job.state)]}{why} and has no result"
    resumed = _resumed(attempts)
    times = "" if not resumed else f", although it was resumed from a checkpoint {count(resumed, 'time')}"
    return f"bit-exact: yes, the same specification, data, software and device give these bits{times}"


def _so_far(attempts: Sequence[Attempt]) -> str:
    """The sentence for a job that has not ended and for which nothing rules out equal bits yet."""
    changed = ", and its interruptions have changed none of them" if _resumed(attempts) else ""
    return f"so far its data, software and device are recorded{changed}"


def _resumed(attempts: Sequence[Attempt]) -> int:
    """How many attempts resumed from a checkpoint."""
    return sum(1 for attempt in attempts if (attempt.identity or {}).get("resumed_from"))


def _is_bit_exact(job: Job, identity: RunIdentity | None) -> bool | None:
    if identity is None:
        return None
    if obstacles(job, identity):
        return False
    return True if job.state == State.succeeded else None


def _is_job_bit_exact(session: Session, job: Job) -> bool | None:
    return _is_bit_exact(job, _identity_of(queries.list_attempts(session, job.id)))


def describe_segments(identity: RunIdentity | None) -> list[str]:
    """Of which steps the environment is recorded; nothing without an identity."""
    if identity is None or not identity.segments:
        return []
    first, *others = identity.segments
    changes = f", changed at step {', '.join(f'{segment.step:,}' for segment in others)}" if others else ""
    sentence = f"The environment is recorded from step {first.step:,} on{changes}"
    if first.step and not identity.complete:
        sentence += "; an earlier version, which did not record it, computed the steps before"
    return [sentence]


def obstacles(job: Job, identity: RunIdentity) -> list[str]:
    """Why another run with the same inputs may end with other bits."""
    reasons = [f"from step {segment.step:,} on {', '.join(segment.differences)}" for segment in identity.segments[1:]]
    if not identity.complete:
        reasons.append("an earlier version computed its first steps and did not record its data and environment")
    if identity.data is None:
        reasons.append("the content of its data is not known")
    if identity.data_changed:
        reasons.append("its data changed while it trained")
    unknown = [name for name in _pretrained_experts(job) if name not in identity.pretrained]
    if unknown:
        reasons.append(f"the published weights that {' and '.join(unknown)} started from were not recorded")
    on_gpu = any(environment.device.type == "cuda" for environment in identity.environments)
    if on_gpu and not job.spec["training"].get("deterministic"):
        reasons.append("sums on a GPU are taken in no fixed order unless `training.deterministic` is true")
    return reasons


def _pretrained_experts(job: Job) -> list[str]:
    """The fields of experts that start from published weights."""
    expert, experts = job.spec.get("expert"), job.spec.get("experts") or []
    fields = ({"expert": expert} if expert else {}) | {f"experts.{k}": spec for k, spec in enumerate(experts)}
    return [name for name, spec in fields.items() if spec.get("pretrained") and not spec.get("from")]


def _components(run_dir: RunDir) -> list[ComponentRecord]:
    records = []
    for file in sorted(run_dir.components.glob("*.json")):
        try:
            manifest = read_manifest(file)
        except (DamagedFileError, OSError):
            continue
        records.append(
            ComponentRecord(
                name=manifest["name"],
                epoch=manifest["epoch"],
                content_sha256=manifest["content_sha256"],
                identity=manifest.get("identity") or None,
            )
        )
    return records
