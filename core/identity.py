"""A run directory belongs to one job: a run goes on only with the specification it began with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from core.durable import write_durably
from core.spec import JobSpec

# What may change between attempts without changing what is computed.
_FREE = ("name", "tags", "priority", "resources", "checkpoint", "max_attempts", "tracking")


def keep_spec(spec: JobSpec, path: Path) -> None:
    """Writes the complete specification into a new run directory; raises ValueError where another job's lies there."""
    text = json.dumps(_content(spec), indent=1, sort_keys=True)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, lambda file: file.write_text(text + "\n"))
        return
    began = _flat({key: value for key, value in json.loads(path.read_text()).items() if key not in _FREE})
    now = _flat({key: value for key, value in json.loads(text).items() if key not in _FREE})
    different = sorted(key for key in began.keys() | now.keys() if began.get(key) != now.get(key))
    if different:
        raise ValueError(
            f"{path.parent} holds a run of another specification; it differs in {', '.join(different[:5])}. "
            "Use another run directory, or the specification that this one began with"
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
