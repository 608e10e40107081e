"""The identity of a run: refuses to continue it with other data, and records what its steps were computed with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from core.model.assemble import Sources
from core.model.model import MultiExpertModel
from core.reporting.activity import Activity
from core.reporting.alerts import Alert
from core.reporting.protocol import Reporter
from core.run.content import Content, ContentCache, describe_difference, find_content
from core.run.durable import DamagedFileError, read_manifest, write_manifest
from core.run.environment import Environment, local_device, software
from core.run.identity import RunIdentity, inputs_digest
from core.run.rundir import RunDir
from core.runtime import Runtime
from core.spec import ExpertJob, JobSpec
from core.train.checkpoint import Checkpoint
from core.train.data_content import HASHING
from core.train.fresh_start import discard_leftovers
from core.train.run_identity import has_begun

DATA_CHANGED = "its files changed while the run read them: not bit-comparable to any other run"


def begin_identity(
    spec: JobSpec, sources: Sources, run_dir: Path, content: Content | None, cache: ContentCache
) -> RunIdentity:
    """The identity of the run in this directory, or of a new one; raises ValueError if it began with other data."""
    begun = has_begun(run_dir)
    stored = RunIdentity.read(RunDir(run_dir)) if begun else None
    if stored is None:
        inputs = inputs_digest(spec.model_dump(mode="json", by_alias=True), {k: c.sha256 for k, c in sources.items()})
        return RunIdentity(inputs, content.to_json() if content else None, complete=not begun)
    check_content(stored, content, cache)
    return stored


def check_content(stored: RunIdentity, content: Content | None, cache: ContentCache) -> None:
    """Raises ValueError if a run began with other data than these; data that are missing now are not others."""
    if stored.data is None or content is None or stored.data["sha256"] == content.sha256:
        return
    difference = describe_difference(stored.data["sha256"], content.sha256, cache)
    raise ValueError(
        f"the data of {content.dataset} has changed since this run began{f' ({difference})' if difference else ''}, so "
        "the run cannot continue with it. Restore the data and retry it, or train on the new data in a new run"
    )


def check_result(
    spec: JobSpec, run_dir: Path, data_roots: Sequence[Path], cache: ContentCache, activity: Activity
) -> None:
    """Raises ValueError if the data of a run that has succeeded are others now: its result is not theirs."""
    stored = RunIdentity.read(RunDir(run_dir))
    if stored is None or stored.data is None:
        return
    try:
        content = find_content(spec.dataset.name, data_roots, cache, on_hashed=partial(activity.note, HASHING))
    except ValueError:
        # They have been moved away: nothing says that they are others.
        return
    check_content(stored, content, cache)


class IdentityRecord:
    """The identity of a run while one attempt computes it: stored in the run directory, and reported."""

    def __init__(
        self,
        run: RunDir,
        identity: RunIdentity,
        environment: Environment,
        reporter: Reporter,
        resumed_from: Checkpoint | None,
    ) -> None:
        self._run = run
        self._identity = identity
        self._environment = environment
        self._reporter = reporter
        self._resumed_from = resumed_from
        self._publish()

    @property
    def digest(self) -> str:
        """That of `RunIdentity`."""
        return self._identity.digest

    @property
    def warnings(self) -> list[str]:
        """Sentences on why the result cannot be compared bit by bit."""
        return [*self._identity.changes, *([DATA_CHANGED] if self._identity.data_changed else [])]

    def note_changed_data(self, *, step: int) -> None:
        """Records for good that the data became others before this step: no digest stands for what was computed."""
        self._identity = replace(self._identity, data_changed=True)
        Alert("changed_data", "The data have changed", DATA_CHANGED, step=step, once=True).raise_to(self._reporter)
        for file in self._run.components.glob("*.json"):
            with suppress(DamagedFileError, OSError):
                write_manifest(file, read_manifest(file) | {"identity": self.digest})
        self._publish()

    def _publish(self) -> None:
        self._identity.write(self._run)
        saved = self._resumed_from
        checkpoint = {"step": saved.step, "sha256": saved.sha256} if saved else None
        report = {"environment": self._environment.to_json(), "resumed_from": checkpoint}
        self._reporter.emit("identity", report | {"run": self._identity.to_json()})


def record_identity(
    identity: RunIdentity | None,
    run_dir: Path,
    runtime: Runtime,
    spec: JobSpec,
    reporter: Reporter,
    *,
    model: MultiExpertModel,
    resumed_from: Checkpoint | None = None,
) -> IdentityRecord | None:
    """Stores and reports the identity with the environment of all processes, and warns of another one than before.

    Every process calls this; those other than the first have no `identity` and get None. `model` is as the run starts,
    before a checkpoint is loaded. Raises ValueError for another
    environment if the specification requires determinism.
    """
    step = resumed_from.step if resumed_from else 0
    environment = environment_of(runtime, spec)
    if identity is None:
        return None
    if resumed_from is None:
        weights = pretrained_digests(spec, model)
        identity = replace(identity, segments=(), complete=True, data_changed=False, pretrained=weights)
        discard_leftovers(RunDir(run_dir), spec, identity, environment, reporter)
    continued = identity.continued(step, environment, furthest=_furthest_component(run_dir))
    newest = continued.segments[-1]
    if newest.change and newest not in identity.segments:
        if spec.training.deterministic:
            differences = ", ".join(newest.differences)
            raise ValueError(
                "training.deterministic is true, but this environment differs from the one that computed the steps "
                f"before {step}: {differences}. Resume where the run began, or start a new run"
            )
        Alert("changed_environment", "The environment has changed", newest.change, step=step).raise_to(reporter)
    return IdentityRecord(RunDir(run_dir), continued, environment, reporter, resumed_from)


def _furthest_component(run_dir: Path) -> int:
    """The last step of which a component has been saved."""
    steps = [0]
    for file in RunDir(run_dir).components.glob("*.json"):
        with suppress(DamagedFileError, OSError):
            steps.append(int(read_manifest(file)["step"]))
    return max(steps)


def pretrained_digests(spec: JobSpec, model: MultiExpertModel) -> dict[str, str]:
    """SHA-256 of the published weights that experts start from, by field; their names say nothing of their content."""
    experts = {"expert": spec.expert} if isinstance(spec, ExpertJob) else dict(enumerate(spec.experts))
    digests: dict[str, str] = {}
    for k, (key, expert) in enumerate(experts.items()):
        if expert.pretrained and expert.source is None:
            state = model.experts[k].state_dict()
            digest = hashlib.sha256()
            # The head is new.
            for name in sorted(name for name in state if name.startswith("backbone.")):
                digest.update(f"{name} {state[name].dtype} {tuple(state[name].shape)}\n".encode())
                digest.update(state[name].cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
            digests[key if isinstance(key, str) else f"experts.{key}"] = digest.hexdigest()
    return digests


def environment_of(runtime: Runtime, spec: JobSpec) -> Environment:
    """The environment of the first process, with those of others where they differ; every process calls this."""
    gpu = torch.cuda.get_device_name(runtime.device) if runtime.device.type == "cuda" else None
    own = Environment(
        software(),
        local_device(runtime.device.type, gpu),
        str(runtime.precision).removeprefix("torch."),
        spec.resources.cpus,
        runtime.world_size,
    )
    first, *others = runtime.gather_objects(own)
    return first.beside(others)
