"""What fails as soon as a job starts is refused before it is submitted, in the words of the plan."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from core.__main__ import app
from core.data import make_splits
from core.plan.data_size import find_data_size
from core.plan.plan import make_plan
from core.spec import FieldError, SpecError, Split, parse_spec, parse_stored
from core.spec.dataset import Regime
from core.spec.split_sizes import shard_size, split_error
from tests.core.impossible_specs import ALL_DATA, IMPOSSIBLE


@pytest.mark.parametrize(("spec", "field", "message"), IMPOSSIBLE)
def test_a_new_specification_is_refused_with_the_sentence_of_its_plan(
    spec: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(spec)
    path = tuple(int(part) if part.isdigit() else part for part in field.split("."))
    assert caught.value.errors == (FieldError(path, message, ""),)
    # A stored one is read, and fails only when the job starts.
    stored = parse_stored(spec)
    with pytest.raises(ValueError) as failed:
        make_plan(stored, find_data_size(stored, []), {})
    assert str(failed.value) == message


@pytest.mark.parametrize(("spec", "field", "message"), IMPOSSIBLE)
def test_mcn_plan_prints_field_and_sentence(spec: dict[str, Any], field: str, message: str) -> None:
    done = CliRunner().invoke(app, ["plan", "-"], input=json.dumps(spec))
    assert done.exit_code == 2
    assert f"{field}: {message}" in " ".join(done.stderr.split())


def test_every_mistake_is_reported_at_once() -> None:
    ref = {"job": "job_01J00000000000000000000000"}
    spec = {
        "kind": "evaluate",
        "experts": [{"from": ref | {"component": "expert_0"}}],
        "fusion": {"from": ref | {"component": "fusion"}},
        "head": {"from": ref | {"component": "head"}},
        "training": {"epochs": 3},
        "dataset": {"split": {"regime": "class_shards", "num_shards": 11}},
    }
    with pytest.raises(SpecError) as caught:
        parse_spec(spec)
    assert [".".join(map(str, error.loc)) for error in caught.value.errors] == [
        "training.epochs",
        "dataset.split.num_shards",
    ]


REF = {"job": "job_01J00000000000000000000000", "component": "expert_0"}


@pytest.mark.parametrize(
    "expert",
    [
        {"arch": "convnet_small", "dropout": 0.0},
        {"arch": "densenet121", "dropout": 0.5},
        {"arch": "convnet_small_gn", "feature_dim": 8},
        {"arch": "timm:resnet10t", "pretrained": True},
        # A component decides its feature dimension, and its architecture where that is not given.
        {"arch": "resnet18", "from": REF, "feature_dim": 512},
        {"from": REF, "dropout": 0.5},
    ],
)
def test_options_that_an_architecture_has_are_accepted(expert: dict[str, Any]) -> None:
    parse_spec({"kind": "expert", "expert": expert})


def test_an_expert_from_a_component_has_the_dropout_option_of_its_architecture() -> None:
    with pytest.raises(SpecError, match=r"expert\.dropout: resnet18 has no dropout option"):
        parse_spec({"kind": "expert", "expert": {"arch": "resnet18", "from": REF, "dropout": 0.5}})


def test_pretrained_weights_exist_for_timm_alone() -> None:
    """Plans build no weights, so only training would notice."""
    with pytest.raises(SpecError, match=r"expert\.pretrained: there are no pretrained weights for resnet18"):
        parse_spec({"kind": "expert", "expert": {"arch": "resnet18", "pretrained": True}})


@pytest.mark.parametrize("name", ["imagefolder:photos", "npz:digits.npz"])
def test_data_of_unknown_size_are_not_refused(name: str) -> None:
    parse_spec(ALL_DATA | {"dataset": {"name": name, "split": {"regime": "class_shards", "num_shards": 1000}}})


def test_the_rule_uses_the_real_size_of_other_data(tmp_path: Path) -> None:
    np.savez(tmp_path / "few.npz", images=np.zeros((20, 8, 8), np.uint8), labels=np.arange(20) % 2)
    for num_shards in (2, 3):
        chosen = {"regime": "class_shards", "num_shards": num_shards}
        spec = parse_spec(ALL_DATA | {"dataset": {"name": "npz:few.npz", "split": chosen}})
        refusal = pytest.raises(ValueError, match="3 shards of 2 classes is impossible")
        with nullcontext() if num_shards == 2 else refusal:
            assert find_data_size(spec, [tmp_path]).exact


@pytest.mark.parametrize("regime", ["full", "iid"])
@pytest.mark.parametrize("shared", [0.0, 0.1])
def test_exactly_the_splits_with_two_images_in_each_part_are_possible(regime: Regime, shared: float) -> None:
    labels = np.arange(40) % 4
    for num_shards in (1, 3, 7, 16, 20):
        for holdout in (0.0, 0.02, 0.04, 0.2, 0.8, 0.94, 0.96, 0.98):
            chosen = Split(regime=regime, num_shards=num_shards, holdout=holdout, shared=shared)
            held_out = round(40 * holdout)
            sizes = [shard_size(chosen, shard, 40 - held_out)[0] for shard in range(num_shards)]
            if split_error(chosen, 40, 4) is None:
                splits = make_splits(labels, 4, chosen)
                assert sizes == [len(part.train) + len(part.val) for part in splits.shards]
                assert min(*sizes, held_out or 40) >= 2
            else:
                assert min(*sizes, held_out or 40) < 2 or (held_out == 0 and regime == "iid")
