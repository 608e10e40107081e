"""A run that starts at its first step uses nothing that an earlier attempt has left in its directory."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from core.components import link_component, read_component_manifest, remove_component_files
from core.reporting.protocol import Reporter
from core.run.durable import DamagedFileError
from core.run.environment import Environment
from core.run.identity import RunIdentity
from core.run.rundir import RunDir
from core.spec import EvaluateJob, ExpertJob, JobSpec


def component_names(spec: JobSpec) -> list[str]:
    """The components that a job saves."""
    if isinstance(spec, EvaluateJob):
        return []
    if isinstance(spec, ExpertJob):
        return ["expert_0"]
    return [*(f"expert_{k}" for k in range(len(spec.experts))), "fusion", "head", "complete"]


def discard_leftovers(
    run: RunDir, spec: JobSpec, identity: RunIdentity, environment: Environment, reporter: Reporter
) -> None:
    """Disowns components and predictions of attempts that left no checkpoint, and logs how they differ from this one.

    A component without a manifest belongs to no run. Its file stays until this run replaces it, since other jobs may
    be about to read it; those that this run will not replace are removed.
    """
    kept = component_names(spec)
    manifests = sorted(run.components.glob("*.json"))
    earlier = _earlier(run)
    for manifest in manifests:
        if manifest.stem not in kept:
            remove_component_files(run.components, manifest.stem)
        elif earlier and earlier.inputs == identity.inputs:
            _report(run, manifest.stem, reporter)
        manifest.unlink(missing_ok=True)
    for split in ("val", "test"):
        run.predictions(split).unlink(missing_ok=True)
    differences = _differences(earlier, identity, environment) if earlier else []
    if manifests or differences:
        changed = f", which differed in {', '.join(differences)}," if differences else ""
        message = f"starting at step 0: an earlier attempt{changed} left no checkpoint, so nothing of it is used"
        reporter.emit("log", {"level": "warning", "message": message})


def _earlier(run: RunDir) -> RunIdentity | None:
    with suppress(DamagedFileError):
        return RunIdentity.read(run)
    return None


def _report(run: RunDir, name: str, reporter: Reporter) -> None:
    """Reports a component of the same job again: otherwise its files may not be those that the service knows.

    It is known as what an ended attempt has left until this one saves its own.
    """
    with suppress(DamagedFileError):
        if manifest := read_component_manifest(run.components, name):
            link_component(run.components, manifest)
            reporter.emit("component", manifest)


def _differences(earlier: RunIdentity, identity: RunIdentity, environment: Environment) -> Sequence[str]:
    """What an earlier attempt computed with that this run does not, in words."""
    same_data = (earlier.data and earlier.data["sha256"]) == (identity.data and identity.data["sha256"])
    environments = [Environment.from_json(segment.environment) for segment in earlier.segments]
    same_environment = all(not environment.differences(other) for other in environments)
    same = {
        "its specification or components": earlier.inputs == identity.inputs,
        "its data": same_data,
        "its environment": same_environment,
    }
    return [name for name, is_same in same.items() if not is_same]
