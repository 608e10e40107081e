"""What a run really trains as it goes on: the temperature of an annealed loss, and what the cosine is measured with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.reporting.event_log import read_events
from tests.core.jobs import fusion, run_logged
from tests.core.train.test_epoch_metrics import epoch_values
from tests.core.train.test_fit import same, weights
from tests.core.train.test_stages import FROZEN, STAGED, STEPS, step_values

pytestmark = pytest.mark.slow

EPOCHS = 2
LAST = EPOCHS * STEPS - 1
# Too small to change any weight: at a step, all runs have the same weights, images and dropout.
STILL = {name: {"lr": 1e-30} for name in ("experts", "fusion", "head")}
# With three steps an epoch, every step is logged.
STILL_RUN: dict[str, Any] = {"epochs": EPOCHS, "batch_size": 40, "components": STILL}


def loss_of(temperature: float, final: float, **options: Any) -> dict[str, Any]:
    annealed = {"type": "annealed", "temperature": temperature, "final_temperature": final}
    return {"individual": annealed, "distillation_weight": 0.0} | options


def test_an_annealed_loss_falls_from_its_first_temperature_to_its_last(tmp_path: Path) -> None:
    """At each step the loss is that of a run whose temperature is always the one of this step."""

    def losses(name: str, first: float, last: float) -> list[float]:
        _, events = run_logged(fusion(**STILL_RUN, loss=loss_of(first, last)), tmp_path / name)
        return [values["train/loss_individual"] for values in step_values(events)]

    annealed, hot, cold = losses("annealed", 1.0, 0.01), losses("hot", 1.0, 1.0), losses("cold", 0.01, 0.01)
    middle = losses("middle", 0.01 ** (2 / LAST), 0.01 ** (2 / LAST))
    assert len(annealed) == LAST + 1
    assert (annealed[0], annealed[LAST]) == (hot[0], cold[LAST])
    assert annealed[2] == pytest.approx(middle[2], rel=1e-6)
    assert hot[LAST] - cold[LAST] > 0.01
    assert hot[2] - middle[2] > 1e-3


def test_the_logged_temperature_is_that_of_the_step(tmp_path: Path) -> None:
    _, events = run_logged(fusion(**STILL_RUN, loss=loss_of(2.0, 0.02)), tmp_path)
    expected = [2.0 * 0.01 ** (step / LAST) for step in range(LAST + 1)]
    assert [values["temperature"] for values in step_values(events)] == pytest.approx(expected)


def test_the_temperature_falls_over_the_steps_that_train_the_experts(tmp_path: Path) -> None:
    """Through stages that freeze them before, between and after, and through a stop at every step."""
    lengths = [(1, True), (1, False), (2, True), (1, False), (1, True)]
    stages = [{"epochs": epochs, "components": FROZEN if frozen else {}} for epochs, frozen in lengths]
    spec = fusion(**STAGED | {"stages": stages, "loss": loss_of(1.0, 0.01)})
    _, events = run_logged(spec, tmp_path / "straight")
    while run_logged(spec, tmp_path / "stopped", should_stop=lambda: True)[0].state == "stopped":
        pass
    resumed = read_events(tmp_path / "stopped/events.jsonl")
    frozen = [is_frozen for epochs, is_frozen in lengths for _ in range(epochs * STEPS)]
    logged = [values.get("temperature") for values in step_values(events)]
    assert [temperature is None for temperature in logged] == frozen
    expected = [0.01 ** (step / (2 * STEPS - 1)) for step in range(2 * STEPS)]
    assert [temperature for temperature in logged if temperature is not None] == pytest.approx(expected)
    assert step_values(resumed) != []
    assert [values.get("temperature") for values in step_values(resumed)] == logged
    assert same(weights(tmp_path / "straight"), weights(tmp_path / "stopped"))


def test_the_cosine_is_measured_at_the_temperature_of_its_step(tmp_path: Path) -> None:
    def cosines(name: str, first: float, last: float) -> list[float]:
        _, events = run_logged(fusion(**STILL_RUN, loss=loss_of(first, last)), tmp_path / name)
        return [values["train/gradient_cosine"] for values in epoch_values(events)]

    second_epoch = 0.001 ** (STEPS / LAST)
    annealed = cosines("annealed", 1.0, 0.001)
    hot, cooler = cosines("hot", 1.0, 1.0), cosines("cooler", second_epoch, second_epoch)
    assert annealed == pytest.approx([hot[0], cooler[1]], abs=1e-7)
    assert abs(hot[1] - cooler[1]) > 1e-4


def test_the_cosine_is_measured_without_the_experts_that_the_step_leaves_out(tmp_path: Path) -> None:
    """Neutral elements start as constants: the first step differs by nothing but the experts that are left out."""

    def first(name: str, rate: float) -> float:
        _, events = run_logged(fusion(count=3, epochs=1, fusion={"expert_dropout": rate}), tmp_path / name)
        [values] = epoch_values(events)
        return values["train/gradient_cosine"]

    whole = first("whole", 0.0)
    # So rare that none of the first batch is left out, and the module has its learned elements.
    assert first("rare", 1e-9) == pytest.approx(whole, abs=1e-7)
    assert abs(first("dropped", 0.5) - whole) > 1e-3
