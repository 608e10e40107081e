from __future__ import annotations

import pytest
import torch

from core.train.non_finite import NonFiniteDetector, NonFiniteLossError

NAN, INF = float("nan"), float("inf")
FINITE = {"individual": 1.0, "global": 1.0, "experts": 1.0, "fusion": 1.0, "head": 1.0, "expert_heads": 1.0}


def detect(*steps: dict[str, float]) -> None:
    detector = NonFiniteDetector(torch.device("cpu"))
    for step, values in enumerate(steps):
        detector.add(step, {key: torch.tensor(value) for key, value in values.items()})
    detector.check()


def test_finite_numbers_pass() -> None:
    detect(FINITE, FINITE)


@pytest.mark.parametrize(
    ("steps", "step", "component"),
    [
        ([FINITE, dict.fromkeys(FINITE, NAN)], 1, "experts"),
        ([FINITE, FINITE | {"global": NAN, "experts": NAN, "fusion": NAN, "head": NAN}], 1, "fusion"),
        ([FINITE, FINITE | {"fusion": INF, "experts": NAN}], 1, "fusion"),
        ([FINITE, FINITE | {"expert_heads": INF, "experts": NAN}], 1, "expert_heads"),
        ([FINITE, FINITE | {"experts": INF}, dict.fromkeys(FINITE, NAN)], 1, "experts"),
        ([FINITE | {"head": NAN}, FINITE, FINITE], 0, "head"),
    ],
)
def test_the_first_step_and_component_are_named(steps: list[dict[str, float]], step: int, component: str) -> None:
    with pytest.raises(NonFiniteLossError) as caught:
        detect(*steps)
    assert (caught.value.step, caught.value.component) == (step, component)
    assert f"step {step}; first non-finite values: {component}," in str(caught.value)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_message_names_the_learning_rates_and_what_applies(precision: torch.dtype) -> None:
    detector = NonFiniteDetector(torch.device("cpu"), lambda: {"experts": 1e9, "fusion": 0.005}, precision)
    detector.add(3, {"global": torch.tensor(NAN)})
    with pytest.raises(NonFiniteLossError) as caught:
        detector.check()
    message = str(caught.value)
    assert "which need not be the cause. Learning rates: experts 1e+09, fusion 0.005." in message
    assert ("precision float32" in message) == (precision != torch.float32)
    assert "that component" not in message
