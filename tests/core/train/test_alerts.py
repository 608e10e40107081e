"""What training alerts a person to, and that a healthy run does not."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from core.reporting.alerts import Alert
from core.reporting.event_log import read_events
from core.run.rundir import RunDir
from core.train.evaluation_metrics import Evaluation
from core.train.non_finite import NonFiniteLossError
from core.train.validation_alerts import BELOW_EPOCHS, ValidationAlerts
from tests.core.jobs import DIGITS, expert, fusion, run_logged

WORSE = {"accuracy_fused": 0.7, "accuracy_expert_0": 0.6, "accuracy_expert_1": 0.8}
BETTER = WORSE | {"accuracy_fused": 0.9}


def alerts_of(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event["data"] for event in events if event["kind"] == "alert"]


def follow(epochs: list[dict[str, float]], total: int, *, resumed_after: int | None = None) -> list[tuple[int, Alert]]:
    """The alerts of validations with these metrics, with their epochs; a new process takes over after an epoch."""
    watch = ValidationAlerts(epochs=total, num_classes=10)
    raised: list[tuple[int, Alert]] = []
    for epoch, metrics in enumerate(epochs, start=1):
        raised += [
            (epoch, alert) for alert in watch.update(Evaluation(1_000, metrics, {}), epoch=epoch, step=10 * epoch)
        ]
        if epoch == resumed_after:
            state = watch.state_dict()
            watch = ValidationAlerts(epochs=total, num_classes=10)
            watch.load_state_dict(state)
    return raised


@pytest.mark.parametrize("resumed_after", [None, 22])
def test_fusion_that_stays_below_its_best_expert_is_alerted_to_once(resumed_after: int | None) -> None:
    [(epoch, alert)] = follow([WORSE] * 30, 30, resumed_after=resumed_after)
    # Counted from two thirds of the training on.
    assert (epoch, alert.step) == (19 + BELOW_EPOCHS, 10 * epoch)
    assert (alert.code, alert.to_json()["key"]) == ("fusion_does_not_pay", "fusion_does_not_pay::")
    assert "70.0 % and 80.0 % of expert_1" in alert.message


def test_fusion_that_is_now_and_then_below_is_not_alerted_to() -> None:
    assert follow([*[WORSE] * (BELOW_EPOCHS - 1), BETTER] * 6, 30) == []


@pytest.mark.parametrize(("accuracy", "is_chance"), [(0.1, True), (0.115, True), (0.13, False)])
def test_accuracy_at_chance_is_alerted_to_after_a_third_of_the_training(accuracy: float, is_chance: bool) -> None:
    raised = follow([{"accuracy_expert_0": accuracy}] * 30, 30)
    assert [(epoch, alert.code) for epoch, alert in raised] == [(10, "accuracy_at_chance")] * is_chance


def test_a_run_of_few_epochs_is_not_judged() -> None:
    assert follow([{"accuracy_fused": 0.1, "accuracy_expert_0": 0.5}] * 2, 2) == []


def test_alerts_are_the_same_by_code_subject_and_step() -> None:
    once = Alert("tracking_failed", "", "", subject="wandb", step=7, once=True)
    assert once.to_json()["key"] == "tracking_failed:wandb:"
    assert Alert("dead_expert", "", "", subject="expert_1", step=7).to_json()["key"] == "dead_expert:expert_1:7"


WHOLE = {"name": "digits", "split": {"regime": "full", "num_shards": 1}}
RATES = {name: {"lr": 3e-3} for name in ("experts", "fusion", "head")}


@pytest.mark.parametrize(
    "spec", [expert(epochs=6), fusion(2, WHOLE, epochs=6, components=RATES)], ids=["expert", "fusion"]
)
def test_a_healthy_run_raises_no_alert(tmp_path: Path, spec: dict[str, Any]) -> None:
    result, events = run_logged(spec, tmp_path)
    assert (result.state, alerts_of(events)) == ("succeeded", [])


@pytest.mark.slow
def test_a_fused_path_that_does_not_learn_is_alerted_to_and_a_resumed_run_says_the_same(tmp_path: Path) -> None:
    spec = fusion(4, DIGITS, epochs=12)
    _, straight = run_logged(spec, tmp_path / "straight")
    assert [alert["code"] for alert in alerts_of(straight)] == ["accuracy_at_chance", "fusion_does_not_pay"]
    steps = itertools.count(1)
    _, first = run_logged(spec, tmp_path / "resumed", should_stop=lambda: next(steps) >= 16 * 10 + 3)
    _, both = run_logged(spec, tmp_path / "resumed")
    assert [alert["key"] for alert in alerts_of(first)] == ["accuracy_at_chance::"]
    assert alerts_of(both) == alerts_of(straight)


def test_a_loss_that_is_not_finite_is_alerted_to_with_its_part(tmp_path: Path) -> None:
    spec = fusion(epochs=2, components={"experts": {"lr": 1e9, "clip_norm": 0, "optimizer": "sgd"}})
    with pytest.raises(NonFiniteLossError) as stopped:
        run_logged(spec, tmp_path)
    [alert] = alerts_of(read_events(tmp_path / "events.jsonl"))
    assert (alert["code"], alert["level"]) == ("loss_not_finite", "error")
    assert (alert["subject"], alert["step"]) == (stopped.value.component, stopped.value.step)


def test_a_damaged_checkpoint_is_alerted_to_once_however_often_it_is_passed_over(tmp_path: Path) -> None:
    steps = itertools.count(1)
    run_logged(expert(), tmp_path, should_stop=lambda: next(steps) >= 1)
    [damaged] = RunDir(tmp_path).checkpoints.glob("step-*")
    (damaged / "manifest.json").write_text("{")
    _, events = run_logged(expert(), tmp_path)
    [alert] = alerts_of(events)
    assert (alert["code"], alert["key"]) == ("damaged_checkpoint", f"damaged_checkpoint:{damaged.name}:")
