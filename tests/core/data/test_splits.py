from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.data import SplitIndices, Splits, load_splits, make_splits, save_splits
from core.data.splits import REGIMES
from core.spec import Split
from core.spec.dataset import SplitVersion

LABELS = np.random.default_rng(0).integers(0, 10, size=1000)


def splits(**fields: Any) -> Splits:
    return make_splits(LABELS, 10, Split(**{"num_shards": 4, "holdout": 0.2, **fields}))


def members(part: SplitIndices) -> set[int]:
    return set(part.train.tolist()) | set(part.val.tolist())


@pytest.mark.parametrize("regime", REGIMES)
def test_phases_and_their_halves_are_disjoint_and_cover_everything(regime: str) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    divided = splits(regime=regime, seed=seed, beta=5.0)
    for part in (*divided.shards, divided.fusion):
        assert not set(part.train.tolist()) & set(part.val.tolist())
        assert len(part.val) >= 1
        assert part.classes == tuple(sorted({int(LABELS[i]) for i in members(part)}))
    experts = set().union(*(members(part) for part in divided.shards))
    assert not experts & members(divided.fusion)
    assert experts | members(divided.fusion) == set(range(1000))
    assert len(members(divided.fusion)) == 200


def test_class_shards_have_contiguous_classes_of_their_own() -> None:
    divided = splits(regime="class_shards")
    assert [part.classes for part in divided.shards] == [(0, 1), (2, 3, 4), (5, 6), (7, 8, 9)]
    assert divided.fusion.classes == tuple(range(10))


def test_iid_shards_share_a_fraction_and_have_equal_parts_of_the_rest() -> None:
    """40 % shared and 15 % each of their own with four experts."""
    first, *others = (members(part) for part in splits(regime="iid").shards)
    shared = first.intersection(*others)
    assert len(shared) == 320
    assert [len(part - shared) for part in (first, *others)] == [120] * 4


def test_dirichlet_shards_are_the_more_uneven_the_smaller_beta() -> None:
    def spread(beta: float) -> float:
        counts = [
            np.bincount(LABELS[sorted(members(p))], minlength=10) for p in splits(regime="dirichlet", beta=beta).shards
        ]
        return float(np.std(counts))

    assert spread(0.3) > 2 * spread(100.0)


def test_full_shares_the_data_and_without_a_holdout_between_the_phases_too() -> None:
    assert len({frozenset(members(part)) for part in splits(regime="full").shards}) == 1
    whole = splits(regime="full", holdout=0.0)
    assert members(whole.shards[0]) == members(whole.fusion) == set(range(1000))


CIFAR_LABELS = np.arange(50_000) % 100


@pytest.mark.parametrize("regime", REGIMES)
def test_the_holdout_is_the_beginning_of_the_seeds_permutation(regime: str) -> None:
    divided = make_splits(CIFAR_LABELS, 100, Split(regime=regime, holdout=0.2, num_shards=4, seed=42))  # type: ignore[arg-type]
    order = np.random.default_rng(42).permutation(50_000)
    assert members(divided.fusion) == set(order[:10_000].tolist())


def test_iid_shards_are_those_of_the_labs_scripts() -> None:
    """40,000 images for the experts and 10,000 for the fusion; a shared 40 % and 15 % for each of four experts."""
    divided = make_splits(CIFAR_LABELS, 100, Split(regime="iid", num_shards=4, seed=42))
    held_out = np.random.default_rng(42).permutation(50_000)[:10_000]
    rest = np.setdiff1d(np.arange(50_000), held_out)
    order = np.random.default_rng(42).permutation(rest)
    shared, own = order[:16_000], np.split(order[16_000:], 4)
    for shard, part in enumerate(divided.shards):
        assert members(part) == set(shared.tolist()) | set(own[shard].tolist())


def test_version_1_holds_out_the_end_of_the_seeds_permutation() -> None:
    divided = make_splits(CIFAR_LABELS, 100, Split(regime="iid", num_shards=4, seed=42, version=1))
    order = np.random.default_rng(42).permutation(50_000)
    assert members(divided.fusion) == set(order[40_000:].tolist())


SHA256: dict[SplitVersion, str] = {
    1: "86bb944d68940b71fb75661a9b669bd6ca80521f67a6fa48b9c0d990ef8e3de3",
    2: "c542aa12158e0a57b9c6ab81c981ea9adf76a28ebaefcdcd0c2ceef37e05b00e",
}


@pytest.mark.parametrize("version", SHA256)
def test_a_split_of_a_version_never_changes(version: SplitVersion) -> None:
    split = Split(regime="class_shards", num_shards=4, holdout=0.4, seed=42, version=version)
    assert make_splits(np.arange(100) % 10, 10, split).sha256 == SHA256[version]


def test_another_seed_gives_another_split() -> None:
    assert splits(regime="iid").sha256 == splits(regime="iid").sha256 != splits(regime="iid", seed=43).sha256


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"regime": "class_shards", "num_shards": 11}, "11 shards of 10 classes is impossible"),
        ({"regime": "iid", "holdout": 0.0}, "leaves none for the fusion phase"),
        ({"regime": "iid", "holdout": 0.0001}, "leaves none for the fusion phase"),
        ({"regime": "iid", "holdout": 0.999}, r"shard 0 \(regime iid\) has"),
        ({"regime": "full", "holdout": 0.001}, r"the fusion phase \(holdout 0.001\) has 1 image;"),
        ({"regime": "dirichlet", "num_shards": 500, "beta": 0.01}, r"800 images for 500 shards \(regime dirichlet\)"),
        ({"regime": "dirichlet", "num_shards": 100, "beta": 0.01}, r"\(regime dirichlet\) has \d images?; at least 2"),
    ],
)
def test_an_impossible_split_is_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        splits(**fields)


def test_saved_splits_come_back_and_notice_any_change(tmp_path: Path) -> None:
    path = tmp_path / "splits.npz"
    divided = splits(regime="class_shards")
    save_splits(divided, path)
    again = load_splits(path)
    assert again.sha256 == divided.sha256
    assert [members(part) for part in again.shards] == [members(part) for part in divided.shards]
    arrays = dict(np.load(path))
    arrays["fusion_val"][0] += 1
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=r"splits\.npz does not match its own checksum"):
        load_splits(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"splits\.npz cannot be read"):
        load_splits(path)
