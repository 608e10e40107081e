"""Resolved specifications that were stored by this or an earlier version of the program."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.spec.jobs import JobSpec
from core.spec.load import parse_any_version

# Specifications that were stored before `dataset.split.version` existed used the first way of splitting.
UNVERSIONED_SPLIT = 1


def parse_stored(data: object) -> JobSpec:
    """A specification from a run directory or the database, which keeps the meaning it was stored with.

    Raises SpecError. A specification that a user writes goes through `parse_spec` and `resolve` instead.
    """
    return parse_any_version(_with_split_version(data) if isinstance(data, Mapping) else data)


def _with_split_version(data: Mapping[str, Any]) -> Mapping[str, Any]:
    dataset = data.get("dataset", {})
    split = dataset.get("split", {}) if isinstance(dataset, Mapping) else None
    if not isinstance(split, Mapping) or split.get("version") is not None:
        return data
    return {**data, "dataset": {**dataset, "split": {**split, "version": UNVERSIONED_SPLIT}}}
