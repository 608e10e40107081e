"""Which training images a job's experts and its fusion phase saw together, as parts of a split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.spec.dataset import DatasetSpec, Split, default_holdout
from core.spec.jobs import AssembledJob, ExpertJob, FusionJob, JobSpec
from core.spec.resolve import resolve

HOLD_OUT = -1
# More shards are counted instead of named.
_MAX_NAMES = 8
# Fields of a split that decide its parts, besides those of its regime.
_OF_EVERY_REGIME = ("regime", "holdout", "seed", "version")
_OF_REGIME: Mapping[str, tuple[str, ...]] = {
    "full": (),
    "iid": ("num_shards", "shared"),
    "class_shards": ("num_shards",),
    "dirichlet": ("num_shards", "beta"),
}
_CONTINUED = "started from a component itself, and what that one saw is not looked up"


@dataclass(frozen=True)
class SeenImages:
    """Parts of a resolved dataset: the number of a shard, or HOLD_OUT. Regime `full` has one shard."""

    dataset: DatasetSpec
    parts: frozenset[int]

    @property
    def is_everything(self) -> bool:
        return self.parts == _all_parts(self.dataset.split)


# What an expert saw before the job; None if it is untrained, and a sentence without its subject if that is not known.
SeenBefore = SeenImages | str | None


def seen_before(source: JobSpec | None, index: int) -> SeenBefore:
    """What expert `index` of the job that saved it saw there; without its specification that is not known."""
    if source is None:
        return "comes from a job whose specification cannot be read"
    source = resolve(source)
    if isinstance(source, ExpertJob):
        if source.expert.source is not None:
            return _CONTINUED
        shard = 0 if source.dataset.split.regime == "full" else source.expert.shard
        return SeenImages(source.dataset, frozenset({shard}))
    if not isinstance(source, FusionJob) or index >= len(source.experts) or source.experts[index].source is not None:
        return _CONTINUED
    return _fusion_phase(source)


def why_not_everything(spec: FusionJob, experts: Sequence[SeenBefore]) -> str | None:
    """Why experts and fusion did not see all training images of the job's dataset together, and nothing else.

    `experts` has what each of them saw before the job. None if they saw exactly all of them.
    """
    own = _fusion_phase(spec)
    parts, complete = own.parts, own.is_everything
    for k, seen in enumerate(experts):
        if seen is None:
            continue
        if isinstance(seen, str):
            return f"expert {k} {seen}"
        if not _same_images(seen.dataset, own.dataset):
            return f"expert {k} was trained on another dataset ({seen.dataset.name})"
        if seen.is_everything:
            complete = True
        elif _parts_of(seen.dataset.split) == _parts_of(own.dataset.split):
            parts |= seen.parts
        elif not own.is_everything:
            return f"expert {k} was trained on another split of the dataset"
    if complete or parts == _all_parts(own.dataset.split):
        return None
    return _partial(own.dataset.split, sorted(parts - {HOLD_OUT}))


def _fusion_phase(spec: AssembledJob) -> SeenImages:
    dataset = resolve(spec).dataset
    return SeenImages(dataset, frozenset({HOLD_OUT if dataset.split.holdout else 0}))


def _all_parts(split: Split) -> frozenset[int]:
    holdout = default_holdout(split.regime) if split.holdout is None else split.holdout
    shards = range(1 if split.regime == "full" else split.num_shards)
    return frozenset(shards) | (frozenset({HOLD_OUT}) if holdout else frozenset())


def _same_images(a: DatasetSpec, b: DatasetSpec) -> bool:
    return (a.name, a.image_size) == (b.name, b.image_size)


def _parts_of(split: Split) -> dict[str, Any]:
    """What decides which image is in which part. `val` divides each part once more, so it does not matter here."""
    return {name: getattr(split, name) for name in (*_OF_EVERY_REGIME, *_OF_REGIME[split.regime])}


def _partial(split: Split, shards: Sequence[int]) -> str:
    if not shards:
        return f"experts and fusion trained on the hold-out alone ({split.holdout:.0%} of the training images)"
    if len(shards) > _MAX_NAMES:
        return f"the experts saw {len(shards)} of {split.num_shards} shards"
    names = ", ".join(map(str, shards))
    return f"the experts saw {'shard' if len(shards) == 1 else 'the shards'} {names} of {split.num_shards}"
