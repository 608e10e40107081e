"""Specifications that no job can be started from: their fields, and what both plan and service say about them."""

from __future__ import annotations

from typing import Any

ALL_DATA: dict[str, Any] = {"kind": "expert", "expert": {"arch": "convnet_small"}}


def split(**fields: Any) -> dict[str, Any]:
    return ALL_DATA | {"dataset": {"name": "digits", "split": fields}}


# Specification, location of the field, and the whole sentence.
IMPOSSIBLE_SPLITS: list[tuple[dict[str, Any], str, str]] = [
    (
        split(holdout=0.9999),
        "dataset.split.holdout",
        "shard 0 (regime full) has 0 images; at least 2 are needed, one of them for validation",
    ),
    (
        split(holdout=0.001),
        "dataset.split.holdout",
        "the fusion phase (holdout 0.001) has 1 image; at least 2 are needed, one of them for validation",
    ),
    (
        split(regime="class_shards", num_shards=11),
        "dataset.split.num_shards",
        "class_shards gives every shard whole classes: 11 shards of 10 classes is impossible; use at most 10 shards",
    ),
    (
        split(regime="iid", num_shards=1000, shared=0.0),
        "dataset.split.num_shards",
        "shard 150 (regime iid) has 1 image; at least 2 are needed, one of them for validation",
    ),
    (
        split(regime="iid", num_shards=4, holdout=0.0),
        "dataset.split.holdout",
        "holdout 0 of 1,437 images leaves none for the fusion phase; regime iid needs at least one (only regime full "
        "allows both phases to use the same images)",
    ),
    (
        split(regime="dirichlet", num_shards=1000),
        "dataset.split.num_shards",
        "the hold-out leaves 1,150 images for 1,000 shards (regime dirichlet); each needs at least 2, one of them for "
        "validation",
    ),
]
IMPOSSIBLE_EXPERTS: list[tuple[dict[str, Any], str, str]] = [
    (
        {"kind": "expert", "expert": {"arch": "convnet_small", "dropout": 0.5}},
        "expert.dropout",
        "convnet_small has no dropout option: remove it (given: 0.5)",
    ),
    (
        {"kind": "fusion", "experts": [{"arch": "densenet121", "dropout": 0.5}, {"arch": "resnet18", "dropout": 0.5}]},
        "experts.1.dropout",
        "resnet18 has no dropout option: remove it (given: 0.5)",
    ),
    (
        {"kind": "fusion", "experts": [{"arch": "densenet121", "feature_dim": 7}], "num_experts": 3},
        "experts.0.feature_dim",
        "the feature dimension of densenet121 is fixed: remove feature_dim (given: 7)",
    ),
    (
        {"kind": "expert", "expert": {"arch": "timm:resnet10t", "feature_dim": 7}},
        "expert.feature_dim",
        "timm:resnet10t has neither a dropout nor a feature_dim option: remove them",
    ),
]
IMPOSSIBLE = IMPOSSIBLE_SPLITS + IMPOSSIBLE_EXPERTS
