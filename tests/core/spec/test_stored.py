from __future__ import annotations

from typing import Any

import pytest

from core.spec import SpecError, parse_spec, parse_stored, resolve

JOB = {"kind": "expert", "expert": {"arch": "convnet_small"}}


def stored_before_versions() -> dict[str, Any]:
    """A resolved specification as versions without `split.version` and `min_lr_factor` stored it."""
    data = resolve(parse_spec(JOB)).model_dump(mode="json", by_alias=True)
    del data["dataset"]["split"]["version"]
    del data["training"]["components"]["expert_heads"]
    schedule = data["training"]["components"]["experts"]["schedule"]
    schedule["eta_min"] = schedule.pop("min_lr_factor")
    return data


def test_a_new_specification_gets_split_version_2() -> None:
    assert resolve(parse_spec(JOB)).dataset.split.version == 2


def test_a_given_split_version_is_kept() -> None:
    given = parse_spec(JOB | {"dataset": {"split": {"version": 1}}})
    assert resolve(given).dataset.split.version == 1
    assert parse_stored(given.model_dump(mode="json", by_alias=True)).dataset.split.version == 1


@pytest.mark.parametrize("data", [stored_before_versions(), JOB, JOB | {"dataset": {}}])
def test_a_stored_specification_without_a_version_keeps_version_1(data: dict[str, Any]) -> None:
    assert resolve(parse_stored(data)).dataset.split.version == 1


def test_a_stored_specification_of_this_version_comes_back_unchanged() -> None:
    spec = resolve(parse_spec(JOB))
    assert parse_stored(spec.model_dump(mode="json", by_alias=True)) == spec


def test_a_specification_stored_before_hang_timeouts_gets_the_default() -> None:
    data = resolve(parse_spec(JOB)).model_dump(mode="json", by_alias=True)
    del data["resources"]["hang_timeout_min"]
    assert parse_stored(data).resources.hang_timeout_min == 30


def test_the_old_name_of_min_lr_factor_is_accepted() -> None:
    data = stored_before_versions()
    schedule = data["training"]["components"]["experts"]["schedule"]
    schedule["eta_min"] = 0.25
    assert parse_stored(data).training.components.experts.schedule.min_lr_factor == 0.25  # type: ignore[union-attr]
    schedule["min_lr_factor"] = 0.25
    with pytest.raises(SpecError, match="eta_min is another name for min_lr_factor: give only one"):
        parse_stored(data)


@pytest.mark.parametrize("data", [None, [], "x", {"dataset": 3}, {"kind": "expert", "dataset": {"split": []}}])
def test_damaged_data_give_a_spec_error(data: object) -> None:
    with pytest.raises(SpecError):
        parse_stored(data)


def test_frozen_new_heads_are_refused() -> None:
    with pytest.raises(SpecError, match="expert_heads cannot be frozen"):
        parse_spec(JOB | {"training": {"components": {"expert_heads": {"frozen": True}}}})
