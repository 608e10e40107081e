"""Which of a job's single networks differ in their seeds alone, and what tells the others apart."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.jobs.control_queries import ControlRow
from app.models import Job

SINGLE = "one network on all the data"
# More would not fit into a table.
_MAX_DIFFERENCES = 3


@dataclass(frozen=True)
class Networks:
    """Controls that are one network with different seeds, or that have no job any more.

    `name` tells the network from those of the other groups; it is empty if there is no other group.
    """

    rows: tuple[ControlRow, ...]
    name: str
    known: bool

    @property
    def label(self) -> str:
        """One network, in a table."""
        if not self.name:
            return SINGLE
        return f"one {self.name} on all the data" if self.known else f"{self.name} on all the data"

    @property
    def ensemble_label(self) -> str:
        """All of them, in a table."""
        return (
            f"deep ensemble of {len(self.rows)} networks{f' ({self.name})' if self.name else ''}, each on all the data"
        )


def group_networks(rows: Sequence[ControlRow], jobs: Mapping[str, Job]) -> list[Networks]:
    """Groups controls by everything that makes the network and its training, except for the seed."""
    settings: dict[str, dict[str, Any]] = {}
    members: dict[str, list[ControlRow]] = {}
    for row in rows:
        job = jobs.get(row.job_id or "")
        # What a deleted job was is not known, so it may be a network that no other row stands for.
        own = None if job is None else _settings(job)
        key = f"absent: {row.absent}" if own is None else json.dumps(own, sort_keys=True)
        members.setdefault(key, []).append(row)
        if own is not None:
            settings[key] = own
    names = _names(settings)
    alone = len(members) == 1
    return [
        Networks(tuple(group), "" if alone else names.get(key, "another network"), key in settings)
        for key, group in members.items()
    ]


def _settings(job: Job) -> dict[str, Any]:
    """What makes the network of a job, by path; names are those of the specification."""
    expert = {name: value for name, value in job.spec.get("expert", {}).items() if name not in ("shard", "from")}
    training = {name: value for name, value in job.spec["training"].items() if name != "seed"}
    return dict(_leaves(expert)) | dict(_leaves(training))


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _names(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The architecture of every group, with what tells it from the other groups of that architecture."""
    names = {}
    for key, own in settings.items():
        same = [other for other in settings.values() if other.get("arch") == own.get("arch")]
        paths = [path for path in dict.fromkeys(path for other in same for path in other) if _differs(path, same)]
        differences = [_setting(path, own.get(path)) for path in paths[:_MAX_DIFFERENCES]]
        if len(paths) > len(differences):
            differences.append(f"{len(paths) - len(differences)} more")
        names[key] = f"{own.get('arch')}" + (f" with {', '.join(differences)}" if differences else "")
    return names


def _differs(path: str, groups: Sequence[Mapping[str, Any]]) -> bool:
    return len({json.dumps(group.get(path)) for group in groups}) > 1


def _setting(path: str, value: object) -> str:
    name = path.removeprefix("components.experts.")
    if value is None:
        return f"the default {name}"
    return f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
