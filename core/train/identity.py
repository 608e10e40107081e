"""A run directory belongs to one job: a run goes on only with the specification it began with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from core.model.assemble import Sources
from core.run.durable import DamagedFileError, read_json, write_durably
from core.spec import JobSpec
from core.train.checkpoint import has_checkpoint
from core.train.finish import finished

# What may change between attempts without changing what is computed.
_FREE = ("name", "tags", "priority", "resources", "checkpoint", "max_attempts", "tracking")


def keep_spec(spec: JobSpec, sources: Sources, run_dir: Path) -> None:
    """Writes the complete specification, and which components it starts from, into a run directory.

    Raises ValueError where a run of another specification, or from other components, has begun there.
    """
    text = json.dumps(_content(spec), indent=1, sort_keys=True)
    digests = {field: component.sha256 for field, component in sources.items()}
    path, sources_path = run_dir / "spec.json", run_dir / "sources.json"
    if not path.exists() or not (finished(run_dir) or has_checkpoint(run_dir / "checkpoints")):
        run_dir.mkdir(parents=True, exist_ok=True)
        write_durably(sources_path, lambda file: file.write_text(json.dumps(digests, indent=1) + "\n"))
        write_durably(path, lambda file: file.write_text(text + "\n"))
        return
    kept = read_json(path)
    if not isinstance(kept, dict):
        raise DamagedFileError(path, "is not a specification")
    began = _flat({key: value for key, value in kept.items() if key not in _FREE})
    now = _flat({key: value for key, value in json.loads(text).items() if key not in _FREE})
    different = sorted(key for key in began.keys() | now.keys() if began.get(key) != now.get(key))
    if different:
        raise ValueError(
            f"{run_dir} holds a run of another specification; it differs in {', '.join(different[:5])}. "
            "Use another run directory, or the specification that this one began with"
        )
    replaced = sorted(field for field, digest in read_json(sources_path).items() if digests.get(field) != digest)
    if replaced:
        raise ValueError(
            f"{run_dir} began from another component than {', '.join(replaced)} names now: the file has been replaced. "
            "Use another run directory, or put it back"
        )


def _content(spec: JobSpec) -> dict[str, Any]:
    return spec.model_dump(mode="json", by_alias=True)


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = {str(index): item for index, item in enumerate(value)}.items()
    else:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, item in items:
        flat |= _flat(item, f"{prefix}.{key}" if prefix else key)
    return flat
