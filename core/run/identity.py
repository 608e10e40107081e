"""`identity.json` of a run directory: which data it trains on, and which environments computed which steps."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from core.run.durable import read_json, write_durably
from core.run.environment import Environment
from core.run.rundir import RunDir
from core.spec.result_neutral_fields import result_fields


@dataclass(frozen=True)
class Segment:
    """Steps from `step` on that one environment computed; `differences` from the segment before, in words."""

    step: int
    environment: dict[str, Any]
    differences: tuple[str, ...] = ()

    @property
    def change(self) -> str | None:
        """What is different from this step on, as a sentence; None if nothing is."""
        if not self.differences:
            return None
        differences = ", ".join(self.differences)
        return f"from step {self.step:,} on {differences}: not bit-comparable to an uninterrupted run"


@dataclass(frozen=True)
class RunIdentity:
    """What decides the result of a run.

    `digest` is the SHA-256 of the specification's result fields, the components that the run started from, the content
    of the data and the environment of every segment: results of equal digests have the same bits. `data` is the content
    of the dataset, null where it is not known. `complete` is false for runs of earlier versions, of whose first steps
    nothing was recorded. With `data_changed` the data became others while the run read them: nobody knows which steps
    used what, and there is no digest. `pretrained` are the SHA-256 of the published weights that experts
    started from, by field.
    """

    inputs: str
    data: dict[str, Any] | None
    segments: tuple[Segment, ...] = ()
    complete: bool = True
    data_changed: bool = False
    pretrained: dict[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 in hexadecimal; empty if the data changed."""
        if self.data_changed:
            return ""
        # Where an attempt began says nothing about the result unless its environment differs.
        environments = [(part.step if part.differences else 0, part.environment) for part in self.segments]
        decisive = {"inputs": self.inputs, "data": self.data and self.data["sha256"], "by": environments}
        return _digest(decisive | ({"pretrained": self.pretrained} if self.pretrained else {}))

    @property
    def environments(self) -> list[Environment]:
        """All environments that computed steps, those of other processes than the first included."""
        first = [Environment.from_json(segment.environment) for segment in self.segments]
        return [environment for each in first for environment in (each, *each.others)]

    @property
    def changes(self) -> list[str]:
        """A sentence for every change of the environment."""
        return [segment.change for segment in self.segments if segment.change]

    def continued(self, step: int, environment: Environment, *, furthest: int = 0) -> RunIdentity:
        """With another segment from `step` on, if the environment differs from the one that computed the steps before.

        Segments from `step` on have left nothing, so they are dropped, unless weights up to the step `furthest` are
        still there: the best components of an attempt whose checkpoint is lost.
        """
        before = [segment for segment in self.segments if segment.step < step]
        kept = self.segments if furthest > step else tuple(before)
        in_force = before[-1:] or kept[:1]
        differences = [
            word for segment in in_force for word in environment.differences(Environment.from_json(segment.environment))
        ]
        if in_force and not differences:
            return replace(self, segments=kept)
        return replace(self, segments=(*kept, Segment(step, environment.to_json(), tuple(differences))))

    def to_json(self) -> dict[str, Any]:
        """As it is stored and reported."""
        return asdict(self) | {"digest": self.digest}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """An identity that `to_json` returned."""
        segments = tuple(
            Segment(row["step"], row["environment"], tuple(row["differences"])) for row in data["segments"]
        )
        # Earlier versions did not have them.
        later = {"data_changed": data.get("data_changed", False), "pretrained": data.get("pretrained", {})}
        return cls(data["inputs"], data["data"], segments, data["complete"], **later)

    def write(self, run: RunDir) -> None:
        """Stores the identity in a run directory."""
        text = json.dumps(self.to_json(), indent=1) + "\n"
        write_durably(run.identity, lambda file: file.write_text(text))

    @classmethod
    def read(cls, run: RunDir) -> Self | None:
        """The identity of a run; None if none was recorded. Raises DamagedFileError."""
        return cls.from_json(read_json(run.identity)) if run.identity.exists() else None


def inputs_digest(spec: Mapping[str, Any], sources: Mapping[str, str]) -> str:
    """Of a complete specification (JSON data) and the SHA-256 of the components that it names, by field.

    The components count by their content, not by their paths.
    """
    return _digest({"spec": _without_sources(result_fields(spec)), "sources": dict(sources)})


def _without_sources(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_sources(item) for key, item in value.items() if key != "from"}
    return [_without_sources(item) for item in value] if isinstance(value, list | tuple) else value


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
