"""Loads the data of a run together with their identity, and refuses to continue a run with other data."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from core.data.job_data import JobData, load_job_data
from core.model.assemble import Sources
from core.reporting.activity import Activity
from core.reporting.alerts import Alert
from core.reporting.protocol import Reporter
from core.run.content import Content, ContentCache, content_of, describe_difference, find_content
from core.run.data_files import list_data_files
from core.run.durable import DamagedFileError, read_manifest
from core.run.environment import Environment, local_device, software
from core.run.identity import RunIdentity, inputs_digest
from core.run.rundir import RunDir
from core.runtime import Runtime
from core.spec import JobSpec
from core.train.checkpoint import Checkpoint
from core.train.fresh_start import discard_leftovers
from core.train.run_identity import has_begun

HASHING = "hashing the data"


def load_with_content(
    spec: JobSpec, data_roots: Sequence[Path], cache: ContentCache, activity: Activity, *, is_main: bool
) -> tuple[JobData, Content | None]:
    """The data of a job and, in the main process, their content; raises ValueError if they change while being read."""
    name = spec.dataset.name
    if not is_main:
        return load_job_data(spec, data_roots), None
    hashing = partial(activity.note, HASHING)
    before = list_data_files(name, data_roots)
    content = content_of(name, before, cache, on_hashed=hashing) if before else None
    data = load_job_data(spec, data_roots)
    if before is not None and data.dataset.train.array is None:
        # Images that are read one by one may change at any time; the next resume will tell.
        return data, content
    after = list_data_files(name, data_roots)
    if before is None and after is not None:
        # It has been downloaded.
        content = content_of(name, after, cache, on_hashed=hashing)
    elif before and after and before.root == after.root and before.signature != after.signature:
        raise ValueError(f"{name} was changed while it was being read: start the job again once that has ended")
    return data, content


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
        f"{content.dataset} has changed since this run began{f' ({difference})' if difference else ''}, so the run "
        "cannot continue with it. Restore the data and resume, or train on the new data in a new run"
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


def record_identity(
    identity: RunIdentity,
    run_dir: Path,
    runtime: Runtime,
    spec: JobSpec,
    reporter: Reporter,
    *,
    resumed_from: Checkpoint | None = None,
) -> RunIdentity:
    """Stores and reports the identity with the environment of this process, and warns of another one than before.

    Raises ValueError for another environment if the specification requires determinism.
    """
    step = resumed_from.step if resumed_from else 0
    environment = environment_of(runtime, spec)
    if resumed_from is None:
        identity = replace(identity, segments=(), complete=True)
        discard_leftovers(RunDir(run_dir), spec, identity, environment, reporter)
    continued = identity.continued(step, environment, furthest=_furthest_component(run_dir))
    newest = continued.segments[-1]
    if newest.differences and newest not in identity.segments:
        differences = ", ".join(newest.differences)
        if spec.training.deterministic:
            raise ValueError(
                f"training.deterministic is true, but the steps before {step} were computed with another environment: "
                f"{differences}. Resume where the run began, or start a new run"
            )
        message = f"from step {step} on {differences}: not bit-comparable to an uninterrupted run"
        Alert("changed_environment", "The environment has changed", message, step=step).raise_to(reporter)
    continued.write(RunDir(run_dir))
    checkpoint = {"step": step, "sha256": resumed_from.sha256} if resumed_from else None
    report = {"environment": environment.to_json(), "resumed_from": checkpoint, "run": continued.to_json()}
    reporter.emit("identity", report)
    return continued


def _furthest_component(run_dir: Path) -> int:
    """The last step of which a component has been saved."""
    steps = [0]
    for file in RunDir(run_dir).components.glob("*.json"):
        with suppress(DamagedFileError, OSError):
            steps.append(int(read_manifest(file)["step"]))
    return max(steps)


def environment_of(runtime: Runtime, spec: JobSpec) -> Environment:
    """The environment of this process."""
    gpu = torch.cuda.get_device_name(runtime.device) if runtime.device.type == "cuda" else None
    return Environment(
        software(),
        local_device(runtime.device.type, gpu),
        str(runtime.precision).removeprefix("torch."),
        spec.resources.cpus,
        runtime.world_size,
    )
