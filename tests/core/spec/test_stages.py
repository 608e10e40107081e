from __future__ import annotations

from typing import Any

import pytest

from core.spec import SpecError, parse_spec, resolve
from core.spec.component_choices import new_heads
from core.spec.outline import outline
from core.spec.result_neutral_fields import result_fields
from core.spec.stage_settings import resolve_stages
from core.spec.stage_trainings import always_frozen

FUSION: dict[str, Any] = {"kind": "fusion", "experts": [{"arch": "convnet_small"}], "num_experts": 2}
REF = {"job": "job_01J00000000000000000000000", "component": "expert_0"}
HEAD: dict[str, Any] = {
    "kind": "head", "experts": [{"from": REF}], "fusion": {"from": {**REF, "component": "fusion"}},
}  # fmt: skip
FROZEN = {"experts": {"frozen": True}}
TWO_STAGES = [{"epochs": 2, "components": FROZEN}, {"epochs": 3, "lambda_individual": 0.5}]


def job(base: dict[str, Any] = FUSION, **training: Any) -> Any:
    return resolve(parse_spec(base | {"training": training}))


def test_the_stages_define_the_epochs() -> None:
    assert job(stages=TWO_STAGES).training.epochs == 5
    assert job(stages=TWO_STAGES, epochs=5) == job(stages=TWO_STAGES)
    expert = job({"kind": "expert", "expert": {"arch": "resnet18"}}, stages=[{"epochs": 7}])
    assert expert.training.epochs == 7
    with pytest.raises(SpecError, match="epochs is 4, but the epochs of the stages sum up to 5"):
        job(stages=TWO_STAGES, epochs=4)
    with pytest.raises(SpecError, match="at most 100,000 are allowed"):
        job(stages=[{"epochs": 60_000}, {"epochs": 60_000}])


def test_what_a_stage_leaves_out_is_as_in_training() -> None:
    stages = [
        {"epochs": 1, "components": {"experts": {"frozen": True}, "head": {"lr": 0.3}}},
        {"epochs": 2, "lambda_individual": 0.5},
        {"epochs": 4, "components": {"fusion": {"frozen": False}}},
    ]
    spec = job(stages=stages, components={"fusion": {"frozen": True, "lr": 0.02}}, loss={"lambda_individual": 2.0})
    first, second, third = resolve_stages(spec, 64)
    assert [(stage.number, stage.start, stage.stop) for stage in (first, second, third)] == [
        (1, 0, 1), (2, 1, 3), (3, 3, 7),
    ]  # fmt: skip
    assert [stage.frozen for stage in (first, second, third)] == [{"experts", "fusion"}, {"fusion"}, frozenset()]
    assert [stage.loss.lambda_individual for stage in (first, second, third)] == [2.0, 0.5, 2.0]
    assert first.trained_rates() == {"head": 0.3}
    base = second.rates["head"].value
    assert base == pytest.approx(6e-4)
    assert third.trained_rates() == {"experts": pytest.approx(1.3e-4), "fusion": 0.02, "head": base}
    assert first.describe() == "epoch 1: experts frozen, fusion frozen, head lr 0.3"
    assert third.describe() == "epochs 4 to 7: experts lr 0.00013, fusion lr 0.02, head lr 0.0006; lambda 2"


def test_new_heads_follow_the_experts_and_in_their_rate_the_head() -> None:
    spec = job(stages=[{"epochs": 1, "components": FROZEN}, {"epochs": 1, "components": {"head": {"lr": 0.3}}}])
    first, second = resolve_stages(spec, 64, new_expert_heads=True)
    assert "expert_heads" not in first.trained_rates()
    assert second.trained_rates()["expert_heads"] == 0.3


def test_a_training_without_stages_is_one() -> None:
    [only] = resolve_stages(job(components=FROZEN, epochs=9), 64)
    assert (only.start, only.stop, sorted(only.frozen)) == (0, 9, ["experts"])
    assert outline(job()).stages == []
    assert outline(job(stages=TWO_STAGES)).stages[0].startswith("epochs 1 to 2: experts frozen, fusion lr")


def test_experts_that_some_stage_trains_get_new_heads() -> None:
    configs = {"experts.0": {"classes": [0, 1]}}
    assert new_heads(job(stages=TWO_STAGES), configs, 10) == (0,)
    assert new_heads(job(stages=[{"epochs": 1, "components": FROZEN}] * 2), configs, 10) == ()
    assert always_frozen(job(stages=TWO_STAGES).training) == frozenset()


ALL = {name: {"frozen": True} for name in ("experts", "fusion", "head")}
NO_LAMBDA = {"lambda_individual": 0}
EXPERT = {"kind": "expert", "expert": {"arch": "convnet_small"}}
REFUSED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (
        FUSION,
        {"stages": [{"epochs": 1}, {"epochs": 1, "components": ALL}]},
        "stages.1: .* freezes experts, fusion, head",
    ),
    (
        EXPERT,
        {"stages": [{"epochs": 1, "components": FROZEN}]},
        "stages.0: .* freezes experts: there is nothing to train",
    ),
    (
        HEAD,
        {"stages": [{"epochs": 1, "components": {"head": {"frozen": True}}}]},
        "stages.0: .* freezes head",
    ),
    (HEAD, {"stages": [{"epochs": 1, "components": {"experts": {"frozen": False}}}]}, "trains the global head alone"),
    (FUSION, {"stages": [{"epochs": 0}]}, "must be greater than or equal to 1"),
    (FUSION, {"stages": [{"epochs": 1, "seed": 3}]}, "there is no such field"),
    (EXPERT, {"gradients": "pcgrad"}, "gradients: pcgrad .*one expert by its own loss alone"),
    (HEAD, {"gradients": "pcgrad"}, "gradients: pcgrad .*the global head alone"),
    (
        FUSION,
        {"gradients": "pcgrad", "components": FROZEN},
        "gradients: pcgrad .*experts are frozen throughout",
    ),
    (
        FUSION,
        {"gradients": "pcgrad", "stages": [{"epochs": 1, "components": FROZEN}]},
        "gradients: pcgrad .*experts are frozen throughout",
    ),
    (
        FUSION,
        {"gradients": "pcgrad", "loss": NO_LAMBDA | {"distillation_weight": 0}},
        "gradients: pcgrad .*lambda_individual is 0 and distillation_weight is 0, so that there is one loss",
    ),
    # The preset does not distil.
    (
        FUSION,
        {"gradients": "pcgrad", "preset": "as_run", "loss": NO_LAMBDA},
        "gradients: pcgrad .*there is one loss",
    ),
    (FUSION | {"num_experts": 1}, {"gradients": "pcgrad", "loss": NO_LAMBDA}, "one expert has none to distil from"),
    (
        FUSION,
        {
            "gradients": "pcgrad",
            "loss": {"distillation_weight": 0},
            "stages": [{"epochs": 1, "lambda_individual": 0}, {"epochs": 1, "components": FROZEN}],
        },
        "gradients: pcgrad .*there is one loss",
    ),
]


@pytest.mark.parametrize(("base", "training", "message"), REFUSED)
def test_what_makes_no_sense_is_refused_with_a_sentence(
    base: dict[str, Any], training: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        job(base, **training)


def test_a_stage_may_train_what_the_training_freezes() -> None:
    everything_else = job(stages=[{"epochs": 1, "components": {"head": {"frozen": False}}}], components=ALL)
    assert always_frozen(everything_else.training) == {"experts", "fusion"}
    job(gradients="pcgrad", stages=TWO_STAGES)


def test_gradients_are_projected_wherever_some_stage_has_two_losses() -> None:
    job(gradients="pcgrad", loss=NO_LAMBDA)
    job(FUSION | {"num_experts": 1}, gradients="pcgrad")
    warm_up = [{"epochs": 1, "lambda_individual": 0}, {"epochs": 1, "lambda_individual": 1}]
    job(gradients="pcgrad", preset="as_run", stages=warm_up)


def test_stages_and_gradients_decide_the_result() -> None:
    plain, staged, projected = (
        result_fields(job(**training).model_dump(mode="json", by_alias=True))
        for training in ({"epochs": 5}, {"stages": TWO_STAGES}, {"epochs": 5, "gradients": "pcgrad"})
    )
    assert plain != staged
    assert plain != projected


def test_specifications_from_before_there_were_stages_mean_the_same() -> None:
    stored = job(epochs=5).model_dump(mode="json", by_alias=True)
    del stored["training"]["stages"], stored["training"]["gradients"]
    assert resolve(parse_spec(stored)) == job(epochs=5)
