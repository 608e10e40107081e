from __future__ import annotations

from typing import Any

import pytest

from core.spec import COMPONENT_NAMES, ComponentPolicy, Schedule, parse_spec, resolve
from core.spec.rates import Rate, resolve_policies, resolve_rates

FUSION = {"kind": "fusion", "experts": [{"arch": "convnet_small"}]}
TABLE = {
    "multiplicative": (1e-4, 5e-4),
    "multiplicativeAddition": (1e-4, 1e-3),
    "TransformerBase": (5e-5, 2e-4),
    "concatenation": (1e-4, 1e-3),
    "simpleAddition": (1e-4, 1e-3),
    "multiplicativeShifted": (1e-4, 5e-4),
}
FACTORS = {64: (1.3, 1.2), 99: (1.3, 1.2), 100: (1, 1), 512: (1, 1), 1000: (1, 1), 1001: (0.7, 0.8), 2048: (0.7, 0.8)}


@pytest.mark.parametrize("fusion_type", TABLE)
@pytest.mark.parametrize("dim", FACTORS)
def test_rates_follow_the_table_and_the_dimension_rule(fusion_type: str, dim: int) -> None:
    rates = resolve_rates(resolve(parse_spec(FUSION | {"fusion": {"type": fusion_type}})), dim)
    (experts, fusion), (expert_factor, fusion_factor) = TABLE[fusion_type], FACTORS[dim]
    assert rates["experts"].value == pytest.approx(experts * expert_factor, rel=1e-12)
    assert rates["fusion"].value == rates["head"].value == pytest.approx(fusion * fusion_factor, rel=1e-12)
    assert ("since D" in rates["head"].why) == (fusion_factor != 1)


def test_a_given_rate_is_not_scaled() -> None:
    given = {"components": {"experts": {"lr": 3e-3}}}
    rates = resolve_rates(resolve(parse_spec(FUSION | {"training": given})), 64)
    assert (rates["experts"].value, rates["experts"].why) == (3e-3, "given")
    assert rates["fusion"].value == pytest.approx(6e-4)


def test_as_run_rates_do_not_depend_on_type_or_dimension() -> None:
    for dim in FACTORS:
        spec = resolve(parse_spec(FUSION | {"fusion": {"type": "TransformerBase"}, "training": {"preset": "as_run"}}))
        rates = resolve_rates(spec, dim)
        assert [rates[name].value for name in COMPONENT_NAMES] == [1e-5, 1e-3, 1e-3]
        assert {rates[name].why for name in COMPONENT_NAMES} == {"the preset as_run"}


def test_an_expert_alone_has_its_recipes_rate() -> None:
    rates = resolve_rates(resolve(parse_spec({"kind": "expert", "expert": {"arch": "resnet18"}})), 512)
    assert rates == {"experts": Rate(0.1, "the recipe of resnet18")}


def new_heads(training: dict[str, Any]) -> tuple[Rate, ComponentPolicy]:
    spec = resolve(parse_spec(FUSION | {"training": training}))
    rates = resolve_rates(spec, 512, new_expert_heads=True)
    return rates["expert_heads"], resolve_policies(spec, new_expert_heads=True)["expert_heads"]


def test_new_expert_heads_learn_at_the_heads_rate_under_the_experts_policy() -> None:
    rate, policy = new_heads({})
    assert rate.value == 5e-4
    assert (policy.clip_norm, policy.accumulation_steps) == (5.0, 2)
    assert policy.schedule == Schedule(type="CosineAnnealingWarmRestarts")
    assert new_heads({"preset": "as_run"})[0].value == 1e-3
    assert new_heads({"components": {"head": {"lr": 0.3}}})[0].value == 0.3


def test_a_given_policy_of_new_expert_heads_is_completed_by_the_experts() -> None:
    rate, policy = new_heads({"components": {"expert_heads": {"lr": 0.02, "clip_norm": 0.5, "schedule": "constant"}}})
    assert rate.value == 0.02
    assert (policy.clip_norm, policy.accumulation_steps, policy.optimizer) == (0.5, 2, "adamw")
    assert policy.schedule == Schedule(type="constant")


def test_without_new_heads_there_is_no_group_of_theirs() -> None:
    spec = resolve(parse_spec(FUSION))
    assert tuple(resolve_rates(spec, 512)) == tuple(resolve_policies(spec)) == COMPONENT_NAMES
