"""A run directory belongs to one job: a run resumes only with the specification and components that it began with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from core.model.assemble import Sources
from core.run.durable import DamagedFileError, read_json, write_durably
from core.run.rundir import RunDir
from core.spec import JobSpec, SpecError, parse_stored, resolve
from core.spec.result_neutral_fields import resume_fields
from core.train.checkpoint import has_checkpoint
from core.train.result import has_result


def with_split_of_run(spec: JobSpec, run_dir: Path) -> JobSpec:
    """The specification with the split version of the run that began in this directory, if it has none itself."""
    if spec.dataset.split.version is not None or not has_begun(run_dir):
        return spec
    version = _stored_spec(run_dir).dataset.split.version
    split = spec.dataset.split.model_copy(update={"version": version})
    return spec.model_copy(update={"dataset": spec.dataset.model_copy(update={"split": split})})


def write_or_check_spec(spec: JobSpec, sources: Sources, run_dir: Path) -> None:
    """Writes the complete specification and the digests of its components into a run directory.

    Raises ValueError if a run with another specification, or with other components, has begun there.
    """
    content = _content(spec)
    digests = {field: component.sha256 for field, component in sources.items()}
    run = RunDir(run_dir)
    if not has_begun(run_dir):
        run_dir.mkdir(parents=True, exist_ok=True)
        write_durably(run.sources, lambda file: file.write_text(json.dumps(digests, indent=1) + "\n"))
        write_durably(run.spec, lambda file: file.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n"))
        return
    began = _flatten(resume_fields(_content(_stored_spec(run_dir))))
    now = _flatten(resume_fields(content))
    different = sorted(key for key in began.keys() | now.keys() if began.get(key) != now.get(key))
    if different:
        raise ValueError(
            f"{run_dir} holds a run of another specification, which differs in {', '.join(different[:5])}. "
            "Use another run directory, or the specification that this run began with"
        )
    replaced = sorted(field for field, digest in read_json(run.sources).items() if digests.get(field) != digest)
    if replaced:
        raise ValueError(
            f"{run_dir} began with another component for {', '.join(replaced)}: the file has been replaced. "
            "Use another run directory, or restore the file"
        )


def has_begun(run_dir: Path) -> bool:
    """Whether a run in this directory has a checkpoint or a result."""
    run = RunDir(run_dir)
    return run.spec.exists() and (has_result(run_dir) or has_checkpoint(run.checkpoints))


def _stored_spec(run_dir: Path) -> JobSpec:
    path = RunDir(run_dir).spec
    content = read_json(path)
    try:
        # Fields that did not exist when it was stored get their defaults, as in the specification it is compared with.
        return resolve(parse_stored(content))
    except SpecError as error:
        raise DamagedFileError(path, f"is not a specification of this version ({error})") from None


def _content(spec: JobSpec) -> dict[str, Any]:
    return spec.model_dump(mode="json", by_alias=True)


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """The leaves of nested JSON data by path, such as `training.epochs`."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = {str(index): item for index, item in enumerate(value)}.items()
    else:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, item in items:
        flat |= _flatten(item, f"{prefix}.{key}" if prefix else key)
    return flat
