"""Whether the experts of a fusion job and the job itself saw all training images, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from core.spec import FusionJob, parse_spec
from core.spec.seen_images import seen_before, why_not_everything

JOB = "job_01JQ3YD5W4N7T8X2M6R9B0C1VA"
FROM = {"from": {"job": JOB, "component": "expert_0"}}
NETWORK = {"arch": "convnet_small"}
HALVES = {"name": "digits", "split": {"regime": "iid", "num_shards": 2, "holdout": 0.4}}


def expert_job(shard: int, dataset: dict[str, Any] = HALVES, expert: dict[str, Any] = NETWORK) -> dict[str, Any]:
    return {"kind": "expert", "expert": expert | {"shard": shard}, "dataset": dataset}


def fusion_job(dataset: dict[str, Any], expert: dict[str, Any] = NETWORK) -> dict[str, Any]:
    return {"kind": "fusion", "experts": [expert] * 2, "dataset": dataset}


def why(*sources: dict[str, Any] | None, dataset: dict[str, Any] = HALVES) -> str | None:
    """Of a fusion job of experts of these jobs; None is an untrained expert."""
    spec = parse_spec(
        {"kind": "fusion", "experts": [NETWORK if source is None else FROM for source in sources], "dataset": dataset}
    )
    assert isinstance(spec, FusionJob)
    seen = [None if source is None else seen_before(parse_spec(source), 0) for source in sources]
    return why_not_everything(spec, seen)


def test_all_shards_and_the_hold_out_are_everything() -> None:
    assert why(expert_job(0), expert_job(1)) is None


def test_an_untrained_expert_saw_the_hold_out_only() -> None:
    assert why(expert_job(0), None) == "the experts saw shard 0 of 2"
    assert why(None, None) == "experts and fusion trained on the hold-out alone (40% of the training images)"


def test_untrained_experts_of_a_joint_job_saw_its_hold_out_only() -> None:
    assert why(fusion_job(HALVES), fusion_job(HALVES)) == (
        "experts and fusion trained on the hold-out alone (40% of the training images)"
    )
    whole = {"name": "digits"}
    assert why(fusion_job(whole), fusion_job(whole), dataset=whole) is None


def test_experts_of_a_joint_job_on_other_data_saw_other_data() -> None:
    cifar = fusion_job({"name": "cifar10"})
    assert why(cifar, cifar, dataset={"name": "digits"}) == "expert 0 was trained on another dataset (cifar10)"


@pytest.mark.parametrize("source", [expert_job(0, expert=FROM), fusion_job(HALVES, FROM)])
def test_what_an_expert_that_continues_another_one_saw_is_not_known(source: dict[str, Any]) -> None:
    assert why(expert_job(0), source) == (
        "expert 1 started from a component itself, and what that one saw is not looked up"
    )


def test_the_rest_and_the_hold_out_of_regime_full_are_everything() -> None:
    full = {"name": "digits", "split": {"regime": "full", "holdout": 0.4}}
    assert why(expert_job(0, full), None, dataset=full) is None
    assert why(None, None, dataset=full) is not None


def test_parts_of_another_split_are_not_parts_of_this_one() -> None:
    other = {"name": "digits", "split": HALVES["split"] | {"seed": 3}}  # type: ignore[operator]
    assert why(expert_job(0), expert_job(1, other)) == "expert 1 was trained on another split of the dataset"
    # Another way to divide them for validation changes nothing.
    val = {"name": "digits", "split": HALVES["split"] | {"val": 0.2}}  # type: ignore[operator]
    assert why(expert_job(0), expert_job(1, val)) is None


def test_fusion_on_all_images_leaves_nothing_to_the_experts() -> None:
    assert why(expert_job(0), expert_job(0), dataset={"name": "digits"}) is None


def test_many_shards_are_counted() -> None:
    dataset = {"name": "digits", "split": {"regime": "iid", "num_shards": 12, "holdout": 0.4}}
    assert why(*(expert_job(k, dataset) for k in range(10)), dataset=dataset) == "the experts saw 10 of 12 shards"
