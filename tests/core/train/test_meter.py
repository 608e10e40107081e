from __future__ import annotations

import torch

from core.train.meter import Meter

CPU = torch.device("cpu")


def scalar(value: float) -> torch.Tensor:
    return torch.tensor(value)


def test_means_are_over_the_steps_that_had_a_value_and_are_reset_by_reading() -> None:
    meter = Meter(CPU)
    meter.add({"a": scalar(1.0), "b": scalar(4.0)})
    meter.add({"a": scalar(3.0)})
    assert meter.read() == {"a": 2.0, "b": 4.0}
    assert meter.read() == {}


def test_a_saved_meter_resumes_its_interval() -> None:
    first, second = Meter(CPU), Meter(CPU)
    first.add({"a": scalar(1.0)})
    second.load_state_dict(first.state_dict())
    second.add({"a": scalar(2.0)})
    assert second.read() == {"a": 1.5}
