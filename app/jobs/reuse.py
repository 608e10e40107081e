"""Which existing job has the result that a new one would have, and why a similar one has not.

Equal digests mean equal specifications. The result is the same only if the data, the software and the device are too.
Predictions are no part of the result, but a report needs them: a job that stores them reuses only one that has them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlmodel import Session

from app.jobs import reuse_queries as queries
from app.models import State
from app.settings import Settings
from core.run.content import ContentCache, describe_difference
from core.run.durable import DamagedFileError, read_json
from core.run.environment import device_keys
from core.run.rundir import RunDir


class Candidate(NamedTuple):
    """A job that has succeeded or may still succeed, with the digest of the specification of a new one."""

    job_id: str
    state: str
    executor: str
    data_sha256: str | None
    software_key: str | None
    device_key: str | None
    # 0 before it has started.
    attempt: int
    # Options of sbatch; of a job of an earlier version, some may be missing.
    slurm: dict[str, Any] | None
    # As its specification says; null before there was a choice.
    store_predictions: Any


class Match(NamedTuple):
    """The job to reuse, or why there is none although there is a job of the same specification."""

    job_id: str | None
    why_not: str | None = None


def find_reusable(session: Session, settings: Settings, points: Sequence[Mapping[str, Any]]) -> list[Match]:
    """A match for every point, given as the columns that its job would have."""
    candidates: dict[str, list[Candidate]] = {}
    for row in queries.jobs_with_digests(session, [point["digest"] for point in points]):
        candidates.setdefault(row[0], []).append(Candidate(*tuple(row)[1:]))
    devices = _Devices(session)
    cache = ContentCache(settings.content_cache)

    def difference(job: Candidate, point: Mapping[str, Any]) -> str | None:
        return _difference(job, point, devices, cache) or _missing_predictions(settings, job, point)

    return [_match(candidates.get(point["digest"], []), point, difference) for point in points]


def identity(columns: Mapping[str, Any]) -> tuple[Any, ...]:
    """What two new jobs with these columns must have in common to be one: what they compute, and what they store."""
    return columns["digest"], columns["data_sha256"], _stores_predictions(columns)


def _stores_predictions(columns: Mapping[str, Any]) -> Any:
    return columns["spec"]["evaluation"]["store_predictions"]


def _match(
    candidates: Sequence[Candidate],
    point: Mapping[str, Any],
    difference_of: Callable[[Candidate, Mapping[str, Any]], str | None],
) -> Match:
    # Succeeded jobs first, then the oldest.
    ranked = sorted(candidates, key=lambda job: (job.state != State.succeeded, job.job_id))
    reason = ""
    for job in ranked:
        difference = difference_of(job, point)
        if difference is None:
            return Match(job.job_id)
        reason = reason or f"{job.job_id} is not reused: {difference}"
    return Match(None, reason or None)


def _difference(job: Candidate, point: Mapping[str, Any], devices: _Devices, cache: ContentCache) -> str | None:
    """Why the result of a job of the same specification is another one; None if it is the same."""
    name = point["spec"]["dataset"]["name"]
    if point["data_sha256"] is None:
        return f"the content of {name} is not known yet; it will be once a job has read it"
    if job.data_sha256 is None and job.state != State.succeeded:
        return "the content of its data is not known before it starts"
    # A job that has not started yet will run on what there is now.
    if job.attempt == 0 and job.state != State.succeeded:
        return devices.reason_against_pending(job, point)
    if job.data_sha256 is None:
        return "it was trained before the content of its data was recorded"
    if job.data_sha256 != point["data_sha256"]:
        difference = describe_difference(job.data_sha256, point["data_sha256"], cache)
        return f"{name} has changed since{f' ({difference})' if difference else ''}"
    if job.software_key != point["software_key"]:
        return f"other code or libraries computed it; `mcn provenance {job.job_id}` shows which"
    if job.device_key is None and job.state != State.succeeded:
        return devices.reason_against_pending(job, point)
    return devices.reason_against(job, point)


def _missing_predictions(settings: Settings, job: Candidate, point: Mapping[str, Any]) -> str | None:
    """Why a job of the same result has not the predictions that a new one would store; None if it has them."""
    requested = _stores_predictions(point)
    if requested is False:
        return None
    # SQLite has 1 for true.
    promised = job.store_predictions in (True, requested)
    if job.state == State.succeeded:
        run = RunDir(settings.runs_dir / job.job_id)
        missing = [split for split in ("val", "test") if not run.predictions(split).exists()]
        if not missing:
            return None
        if promised and not _has_lost(run, missing):
            return None
        if promised:
            return f"its stored predictions of {' and '.join(missing)} are not there"
    elif promised:
        return None
    if job.store_predictions == "auto":
        return "it stores its predictions only if they are small (evaluation.store_predictions: auto)"
    return "it stores no predictions (evaluation.store_predictions: false), which reports and comparisons need"


def _has_lost(run: RunDir, missing: Sequence[str]) -> bool:
    """Whether predictions are missing that a new job would store: those of a result that does not say why."""
    if not run.result.exists():
        # The whole folder may be elsewhere: nothing says that it has none.
        return False
    try:
        stored = read_json(run.result)["predictions"]
        return any("absent" not in stored.get(split, {}) for split in missing)
    except (DamagedFileError, OSError, KeyError, TypeError, AttributeError):
        return True


class _Devices:
    """The devices that a new job may get."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._workers = queries.device_keys(session)
        self._slurm_nodes: dict[str, set[_Nodes]] = {}

    def reason_against_pending(self, job: Candidate, point: Mapping[str, Any]) -> str | None:
        """Why a job that has yet to run may get another device than a new one; None if it chooses among the same."""
        if job.executor != point["executor"]:
            return f"it will run with the executor {job.executor}"
        if job.executor == "slurm" and _nodes(job.slurm) != _nodes(_slurm_of(point)):
            return f"it will run on other Slurm nodes ({_describe(_nodes(job.slurm))})"
        return None

    def reason_against(self, job: Candidate, point: Mapping[str, Any]) -> str | None:
        """Why a new job for this point would not get the device that computed an existing job; None if it may."""
        shown = f"`mcn provenance {job.job_id}` shows which"
        if point["executor"] == "local":
            workers = self._workers or [device_keys(cpu_only=False)]
            needs_cpu = point["spec"]["resources"]["gpus"] == 0
            may_run = any(job.device_key in (worker["cpu"] if needs_cpu else worker["default"]) for worker in workers)
            return None if may_run else f"another device computed it; {shown}"
        if job.executor != point["executor"] or job.device_key is None:
            return f"another device computed it; {shown}"
        nodes = _nodes(_slurm_of(point))
        if nodes in (_nodes(job.slurm), *self._nodes_with(job.device_key)):
            return None
        return (
            f"another device computed it; {shown}. No job is known to have had it on these nodes ({_describe(nodes)})"
        )

    def _nodes_with(self, device_key: str) -> set[_Nodes]:
        """The nodes on which Slurm jobs had a device."""
        if device_key not in self._slurm_nodes:
            options = queries.slurm_options_of_device(self._session, device_key)
            self._slurm_nodes[device_key] = {_nodes(slurm) for slurm in options}
        return self._slurm_nodes[device_key]


# The options of sbatch that choose the kind of node.
_NODE_OPTIONS = ("partition", "constraint", "gres")
_Nodes = tuple[str | None, ...]


def _slurm_of(point: Mapping[str, Any]) -> Mapping[str, Any]:
    options: Mapping[str, Any] = point["spec"]["resources"]["slurm"]
    return options


def _nodes(slurm: Mapping[str, Any] | None) -> _Nodes:
    return tuple((slurm or {}).get(name) for name in _NODE_OPTIONS)


def _describe(nodes: _Nodes) -> str:
    options = [f"{name} {value}" for name, value in zip(_NODE_OPTIONS, nodes, strict=True) if value]
    return ", ".join(options) or "the default partition"
