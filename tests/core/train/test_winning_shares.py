from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from core.spec import IndividualLoss
from core.spec.individual_loss import resolve_individual
from core.train.evaluation_metrics import Evaluation
from core.train.winning_shares import WinningShares, shares_by_class
from tests.core.jobs import TINY, component, expert, fusion, run, run_logged
from tests.core.train.test_fit import components

pytestmark = pytest.mark.slow

WTA = IndividualLoss(type="wta")


def measured(*wins_KC: list[int]) -> Evaluation:
    return Evaluation(sum(map(sum, wins_KC)), {}, {}, wins_by_class=list(wins_KC))


ALIVE, DEAD = measured([40, 10], [10, 40]), measured([50, 48], [0, 2])


def test_shares_by_class_are_fractions_of_the_images_of_a_class() -> None:
    assert shares_by_class([[1, 0, 0], [3, 0, 5]]) == [[0.25, None, 0.0], [0.75, None, 1.0]]
    assert shares_by_class([]) == []


def test_an_expert_is_dead_once_it_hardly_wins_in_two_epochs_and_is_warned_about_once() -> None:
    shares = WinningShares(WTA, 2)
    assert [len(shares.update(epoch, 9)) for epoch in (ALIVE, DEAD, DEAD, DEAD, ALIVE, DEAD, DEAD)] == [
        0,
        0,
        1,
        0,
        0,
        0,
        1,
    ]
    assert shares.by_class == [[1.0, 0.96], [0.0, 0.04]]
    [warning] = shares.warnings()
    assert warning == (
        "expert_1 is dead: in each of the last 2 epochs it had the smallest loss on less than 2.5% of the validation "
        "images (in the last one on 2%; an equal share is 50%). The individual loss of type wta hardly trains such an "
        "expert. Use type annealed or relaxed, which also train experts that do not win"
    )


def test_an_expert_that_wins_again_is_not_dead() -> None:
    shares = WinningShares(WTA, 2)
    for epoch in (DEAD, DEAD, DEAD, ALIVE, DEAD):
        shares.update(epoch, 9)
    assert shares.warnings() == []


@pytest.mark.parametrize("kind", ["sum", "mean"])
def test_where_every_expert_is_trained_on_every_image_none_is_dead(kind: str) -> None:
    shares = WinningShares(IndividualLoss.model_validate({"type": kind}), 2)
    assert [shares.update(DEAD, 9) for _ in range(3)] == [[], [], []]
    assert shares.warnings() == []
    assert shares.by_class == [[1.0, 0.96], [0.0, 0.04]]


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        ("relaxed", "Raise epsilon (now 0.05)"),
        ("annealed", "Start at a higher temperature (now 1), or end at a higher final_temperature (now 0.01)"),
        ("confident", "Lower confidence_weight (now 0.75)"),
    ],
)
def test_a_warning_says_what_to_do(kind: str, advice: str) -> None:
    shares = WinningShares(resolve_individual(IndividualLoss.model_validate({"type": kind}), None)[0], 2)
    shares.update(DEAD, 9)
    [warning] = shares.update(DEAD, 9)
    assert advice in warning.message


def test_a_resumed_run_continues_counting() -> None:
    straight, resumed = WinningShares(WTA, 2), WinningShares(WTA, 2)
    straight.update(DEAD, 4)
    resumed.load_state_dict(json.loads(json.dumps(straight.state_dict())))
    assert resumed.by_class == straight.by_class
    assert resumed.update(DEAD, 9) == straight.update(DEAD, 9) != []


def test_validation_outputs_that_cannot_be_compared_change_nothing() -> None:
    shares = WinningShares(WTA, 2)
    shares.update(DEAD, 9)
    assert shares.update(Evaluation(5, {}, {}), 9) == []
    assert len(shares.update(DEAD, 9)) == 1


def one_sided(folder: Path, **training: Any) -> dict[str, Any]:
    """An expert that was trained before wins nearly every image over an untrained one that learns slowly."""
    run(expert(dataset=TINY, epochs=15), folder)
    experts = [
        {"from": {"path": str(component(folder, "expert_0"))}},
        {"arch": "convnet_small", "feature_dim": 16},
    ]
    loss = {"individual": {"type": "wta"}, "distillation_weight": 0}
    return fusion(components={"experts": {"lr": 1e-7}}, loss=loss, **training) | {"experts": experts}


def test_a_dead_expert_is_in_the_event_log_and_in_the_result(tmp_path: Path) -> None:
    spec = one_sided(tmp_path / "before", epochs=3)
    result, events = run_logged(spec, tmp_path / "run")
    [alert] = [event["data"] for event in events if event["kind"] == "alert" and event["data"]["code"] == "dead_expert"]
    assert (alert["level"], alert["subject"], alert["title"]) == ("warning", "expert_1", "expert_1 is dead")
    assert alert["key"] == f"dead_expert:expert_1:{alert['step']}"
    assert "expert_1 is dead" in alert["message"]
    [sentence] = result.warnings
    assert "expert_1 is dead: in each of the last 3 epochs" in sentence
    stored = json.loads((tmp_path / "run/result.json").read_text())
    assert stored["warnings"] == [sentence]
    assert stored["winning_share_by_class"] == result.winning_share_by_class
    first, second = result.winning_share_by_class
    assert len(first) == len(second) == 10
    assert all(a is None or a + (b or 0.0) == pytest.approx(1.0) for a, b in zip(first, second, strict=True))

    # A run that stops after the first epoch counts on from there.
    steps = itertools.count(1)
    assert run(spec, tmp_path / "stopped", should_stop=lambda: next(steps) >= 5).step == 5
    assert run(spec, tmp_path / "stopped").warnings == [sentence]


def test_epochs_that_do_not_train_the_experts_make_none_dead(tmp_path: Path) -> None:
    stages = [{"epochs": 1}, {"epochs": 3, "components": {"experts": {"frozen": True}}}]
    result = run(one_sided(tmp_path / "before", epochs=4, stages=stages), tmp_path / "run")
    _, loser = result.winning_share_by_class
    assert sum(share for share in loser if share is not None) < 0.025
    assert result.warnings == []


def frozen(folder: Path, **training: Any) -> dict[str, Any]:
    named = [{"from": {"path": str(component(folder, f"expert_{k}"))}} for k in (0, 1)]
    return fusion(epochs=1, components={"experts": {"frozen": True}}, **training) | {"experts": named}


def test_jobs_without_jointly_trained_experts_are_the_same_with_every_type(tmp_path: Path) -> None:
    run(fusion(epochs=1), tmp_path / "before")
    wta = {"individual": {"type": "wta"}}
    for name, plain, other in (
        ("expert", expert(dataset=TINY, epochs=1), expert(dataset=TINY, epochs=1, loss=wta)),
        ("one", fusion(count=1, epochs=1), fusion(count=1, epochs=1, loss=wta)),
        ("frozen", frozen(tmp_path / "before"), frozen(tmp_path / "before", loss=wta)),
    ):
        run(plain, tmp_path / f"{name}-plain")
        result, events = run_logged(other, tmp_path / name)
        assert components(tmp_path / name) == components(tmp_path / f"{name}-plain"), name
        assert (result.winning_share_by_class, result.warnings) == ([], []), name
        keys = {key for event in events if event["kind"] == "metrics" for key in event["data"]["values"]}
        assert not any("winning" in key for key in keys), name
