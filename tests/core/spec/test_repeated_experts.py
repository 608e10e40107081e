"""A component that is listed several times is several equal experts."""

from __future__ import annotations

from typing import Any

import pytest

from core.spec import parse_spec
from core.spec.outline import outline

JOB = "job_01J00000000000000000000000"


def warnings(*components: str, configs: dict[str, Any] | None = None, **fields: Any) -> list[str]:
    """The warnings about experts that are listed several times."""
    experts = [{"from": {"job": JOB, "component": name}} for name in components]
    spec = parse_spec({"kind": "fusion", "experts": experts} | fields)
    return [text for text in outline(spec, configs).warnings if "same component" in text]


def test_experts_that_start_from_the_same_component_are_warned_about() -> None:
    [warning] = warnings(*[f"expert_{k}" for k in range(4)] * 3)
    assert warning.startswith(
        f"experts.0, experts.4 and experts.8 are the same component, expert_0 of {JOB}, "
        "and 3 more components are listed several times: "
    )
    assert "these are trained further" in warning
    [warning] = warnings("expert_1", num_experts=2, training={"components": {"experts": {"frozen": True}}})
    assert warning.startswith("experts.0 and experts.1 are the same component")
    assert "these are always frozen" in warning


@pytest.mark.parametrize("components", [("expert_0", "expert_1"), ("complete", "complete"), ("complete", "expert_0")])
def test_different_experts_are_not(components: tuple[str, ...]) -> None:
    assert warnings(*components) == []


def test_new_experts_and_the_experts_of_a_complete_model_are_not() -> None:
    same = [{"arch": "convnet_small"}] * 3
    assert [text for text in outline(parse_spec({"kind": "fusion", "experts": same})).warnings if "same" in text] == []
    by_id = [{"from": {"component": "cmp_" + "0" * 26}}] * 2
    expert = {"role": "expert", "arch": "convnet_small"}
    whole = {"role": "complete", "experts": [expert] * 2}
    assert warnings(configs={f"experts.{k}": whole for k in range(2)}, experts=by_id) == []
    assert len(warnings(configs={f"experts.{k}": expert for k in range(2)}, experts=by_id)) == 1
