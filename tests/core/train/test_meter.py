from __future__ import annotations

import pytest
import torch

from core.train.meter import Meter, NonFiniteLossError, Watch

CPU = torch.device("cpu")


def scalar(value: float) -> torch.Tensor:
    return torch.tensor(value)


def test_a_meter_gives_means_over_the_steps_that_had_a_value_and_starts_anew() -> None:
    meter = Meter(CPU)
    meter.add({"a": scalar(1.0), "b": scalar(4.0)})
    meter.add({"a": scalar(3.0)})
    assert meter.read() == {"a": 2.0, "b": 4.0}
    assert meter.read() == {}


def test_a_meter_goes_on_where_it_was_saved() -> None:
    first, second = Meter(CPU), Meter(CPU)
    first.add({"a": scalar(1.0)})
    second.load_state_dict(first.state_dict())
    second.add({"a": scalar(2.0)})
    assert second.read() == {"a": 1.5}


def watch(*steps: dict[str, float]) -> None:
    seen = Watch(CPU)
    for step, values in enumerate(steps):
        seen.add(step, {key: scalar(value) for key, value in values.items()})
    seen.check()


GOOD = {"individual": 1.0, "global": 1.0, "experts": 1.0, "fusion": 1.0, "head": 1.0}
NAN = float("nan")


def test_finite_numbers_pass() -> None:
    watch(GOOD, GOOD)


@pytest.mark.parametrize(
    ("steps", "step", "component"),
    [
        ([GOOD, dict.fromkeys(GOOD, NAN)], 1, "experts"),
        ([GOOD, GOOD | {"global": NAN, "experts": NAN, "fusion": NAN, "head": NAN}], 1, "fusion"),
        ([GOOD, GOOD | {"fusion": float("inf"), "experts": NAN}], 1, "fusion"),
        ([GOOD, GOOD | {"experts": float("inf")}, dict.fromkeys(GOOD, NAN)], 1, "experts"),
        ([GOOD | {"head": NAN}, GOOD, GOOD], 0, "head"),
    ],
)
def test_the_first_step_and_the_component_where_it_began_are_named(
    steps: list[dict[str, float]], step: int, component: str
) -> None:
    with pytest.raises(NonFiniteLossError) as caught:
        watch(*steps)
    assert (caught.value.step, caught.value.component) == (step, component)
    assert f"step {step}, and {component} went bad first" in str(caught.value)
