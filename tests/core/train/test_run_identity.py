from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.data import load_splits
from core.train.result import read_result
from core.train.run_identity import write_or_check_spec
from tests.core.jobs import fusion, run
from tests.core.train.test_fit import components


def holds_first_images(run_dir: Path) -> bool:
    """Whether the fusion phase has the first images of the seed's permutation, as in version 2."""
    fusion_part = load_splits(run_dir / "splits.npz").fusion
    indices = np.sort(np.concatenate([fusion_part.train, fusion_part.val]))
    first = np.random.default_rng(1).permutation(1437)[: len(indices)]
    return bool(np.array_equal(indices, np.sort(first)))


def make_older(run_dir: Path) -> None:
    """Turns the kept specification into one of a version without split versions and with `eta_min`."""
    spec = json.loads((run_dir / "spec.json").read_text())
    del spec["dataset"]["split"]["version"]
    del spec["training"]["components"]["expert_heads"]
    for policy in spec["training"]["components"].values():
        policy["schedule"]["eta_min"] = policy["schedule"].pop("min_lr_factor")
    (run_dir / "spec.json").write_text(json.dumps(spec))


def with_split(version: int) -> dict[str, Any]:
    spec = fusion(epochs=2)
    split = {**spec["dataset"]["split"], "version": version}
    return spec | {"dataset": {**spec["dataset"], "split": split}}


def test_a_run_resumes_only_with_its_own_specification(tmp_path: Path) -> None:
    spec = fusion(epochs=1)
    run(spec, tmp_path, should_stop=lambda: True)
    with pytest.raises(ValueError, match=r"differs in training\.epochs"):
        run(fusion(epochs=2), tmp_path)
    moved = {"name": "renamed", "priority": 5, "resources": {"cpus": 2, "executor": "slurm"}}
    assert run(spec | moved, tmp_path).state == "succeeded"


def test_a_new_run_holds_out_the_first_images_and_says_so_in_its_specification(tmp_path: Path) -> None:
    run(fusion(epochs=1), tmp_path, should_stop=lambda: True)
    assert json.loads((tmp_path / "spec.json").read_text())["dataset"]["split"]["version"] == 2
    assert holds_first_images(tmp_path)


def test_a_run_of_an_earlier_version_resumes_with_its_own_split(tmp_path: Path) -> None:
    """The same specification, which has no split version, starts new runs with version 2."""
    straight = run(with_split(1), tmp_path / "straight")
    run(with_split(1), tmp_path / "old", should_stop=lambda: True)
    make_older(tmp_path / "old")
    resumed = run(fusion(epochs=2), tmp_path / "old")
    assert not holds_first_images(tmp_path / "old")
    assert resumed.metrics == straight.metrics
    assert components(tmp_path / "old") == components(tmp_path / "straight")


def test_a_finished_run_of_an_earlier_version_is_recognised(tmp_path: Path) -> None:
    run(with_split(1), tmp_path)
    make_older(tmp_path)
    assert run(fusion(epochs=2), tmp_path) == read_result(tmp_path)


def test_another_split_version_than_that_of_the_run_is_refused(tmp_path: Path) -> None:
    run(with_split(1), tmp_path, should_stop=lambda: True)
    with pytest.raises(ValueError, match=r"differs in dataset\.split\.version"):
        run(with_split(2), tmp_path)


def test_a_specification_that_nothing_began_with_is_replaced(tmp_path: Path) -> None:
    from core.spec import parse_spec, resolve

    for epochs in (1, 2):
        write_or_check_spec(resolve(parse_spec(fusion(epochs=epochs))), {}, tmp_path)
    assert json.loads((tmp_path / "spec.json").read_text())["training"]["epochs"] == 2


def test_a_run_that_began_before_an_option_existed_resumes(tmp_path: Path) -> None:
    """Its specification lacks the options of fusion and head, whose defaults the preset fills in."""
    run(fusion(epochs=2), tmp_path, should_stop=lambda: True)
    stored = json.loads((tmp_path / "spec.json").read_text())
    for section in ("fusion", "head"):
        for option in ("weights", "encoder_dropout", "type", "hidden_dim", "dropout"):
            if (section, option) not in {("fusion", "type"), ("fusion", "hidden_dim"), ("fusion", "dropout")}:
                stored[section].pop(option, None)
    assert "type" not in stored["head"]
    (tmp_path / "spec.json").write_text(json.dumps(stored))
    assert run(fusion(epochs=2), tmp_path).state == "succeeded"
