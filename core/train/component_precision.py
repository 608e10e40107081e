"""Records in every component the precision of the run that trained it; evaluate jobs measure with the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


def record_precision(configs: Mapping[str, dict[str, Any]], precision: torch.dtype) -> dict[str, dict[str, Any]]:
    """The configs of all components with `precision`, which `complete` also repeats for each of its parts."""
    name = str(precision).removeprefix("torch.")
    return {component: _record(config, name) for component, config in configs.items()}


def _record(config: dict[str, Any], precision: str) -> dict[str, Any]:
    recorded = config | {"precision": precision}
    for part in ("fusion", "head"):
        if part in config:
            recorded[part] = _record(config[part], precision)
    if "experts" in config:
        recorded["experts"] = [_record(expert, precision) for expert in config["experts"]]
    return recorded
