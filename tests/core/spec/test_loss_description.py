from __future__ import annotations

from typing import Any

import pytest

from core.spec import parse_spec
from core.spec.outline import outline

FUSION = {"kind": "fusion", "experts": [{"arch": "convnet_small"}], "num_experts": 3}
REF = {"job": "job_01J00000000000000000000000", "component": "expert_0"}
SOURCED = {"experts": [{"from": REF}], "fusion": {"from": REF | {"component": "fusion"}}}


def outlined(loss: dict[str, Any], **fields: Any) -> tuple[str, list[str]]:
    """The individual loss in words, and the warnings about distillation."""
    shown = outline(parse_spec({**FUSION, **fields, "training": {"loss": loss, **fields.get("training", {})}}))
    return shown.individual_loss, [warning for warning in shown.warnings if "istillation" in warning]


@pytest.mark.parametrize(
    ("loss", "line"),
    [
        ({}, "sum: every expert's cross-entropy; lambda 1"),
        ({"individual_reduction": "mean", "alpha": 5}, "mean: the experts' cross-entropies; lambda 5"),
        ({"individual": {"type": "wta"}}, "wta: cross-entropy of the expert with the smallest one; lambda 1"),
        ({"individual": {"type": "relaxed"}},
         "relaxed: weight 0.95 for the expert with the smallest cross-entropy, 0.05 for all others; lambda 1"),
        ({"individual": {"type": "annealed", "temperature": 2}},
         "annealed: softmin at temperature 2, falling to 0.02 (exponential); lambda 1"),
        ({"individual": {"type": "confident"}},
         "confident: cross-entropy of the winner, weight 0.75 for the others' divergence from uniform; lambda 1"),
    ],
)  # fmt: skip
def test_the_outline_names_the_individual_loss(loss: dict[str, Any], line: str) -> None:
    assert outlined(loss)[0] == line


@pytest.mark.parametrize(("frozen", "weights"), [(True, "lambda 0.5"), (False, "lambda 1, then 0.5")])
def test_the_weight_of_the_individual_loss_is_that_of_the_stages_with_trained_experts(
    frozen: bool, weights: str
) -> None:
    first = {"epochs": 2, "components": {"experts": {"frozen": frozen}}}
    training = {"stages": [first, {"epochs": 2, "lambda_individual": 0.5}]}
    assert outline(parse_spec(FUSION | {"training": training})).individual_loss.endswith(f"; {weights}")


def test_the_outline_says_where_no_expert_has_an_individual_loss() -> None:
    frozen = {"training": {"components": {"experts": {"frozen": True}}}}
    assert outlined({"individual": {"type": "wta"}}, **frozen) == ("none: the experts are frozen", [])
    assert outlined({}, kind="head", **SOURCED)[0] == "none: the experts are frozen"
    head = {"head": {"from": REF | {"component": "head"}}}
    assert outlined({}, kind="evaluate", **SOURCED, **head)[0] == "none: nothing is trained"
    alone = parse_spec({"kind": "expert", "expert": {"arch": "convnet_small"}})
    assert outline(alone).individual_loss == "cross-entropy of the one expert"


@pytest.mark.parametrize(
    ("loss", "num_experts", "warns"),
    [
        ({"individual": {"type": "wta"}}, 3, True),
        ({"individual": {"type": "wta"}, "distillation_weight": 0}, 3, False),
        ({"individual": {"type": "wta"}}, 1, False),
        ({"individual": {"type": "mean"}}, 3, False),
    ],
)
def test_distillation_beside_a_multiple_choice_loss_is_warned_about(
    loss: dict[str, Any], num_experts: int, warns: bool
) -> None:
    warnings = outlined(loss, num_experts=num_experts)[1]
    assert ["set training.loss.distillation_weight to 0" in warning for warning in warnings] == [True] * warns


FROZEN = {"components": {"experts": {"frozen": True}}}
RAISED_LATER = {"stages": [{"epochs": 1}, {"epochs": 1, "lambda_individual": 1}]}


@pytest.mark.parametrize("kind", ["wta", "relaxed", "annealed", "confident"])
@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"num_experts": 1}, "one expert wins every image"),
        ({"training": {"loss": {"lambda_individual": 0}}}, "training.loss.lambda_individual is 0"),
        ({"training": FROZEN}, "the experts are frozen throughout"),
        ({"kind": "head"} | SOURCED, "the experts are frozen throughout"),
        ({"training": {"loss": {"lambda_individual": 0}} | RAISED_LATER}, None),
        ({}, None),
    ],
)
def test_a_multiple_choice_loss_that_has_no_effect_is_warned_about(
    kind: str, fields: dict[str, Any], why: str | None
) -> None:
    training = fields.get("training", {})
    loss = {"individual": {"type": kind}} | training.get("loss", {})
    shown = outline(parse_spec(FUSION | fields | {"training": {**training, "loss": loss}}))
    warnings = [warning for warning in shown.warnings if "has no effect" in warning]
    assert [f"individual.type is {kind}, but {why}," in warning for warning in warnings] == [True] * (why is not None)


def test_one_expert_trained_alone_is_warned_about_a_multiple_choice_loss() -> None:
    spec = {
        "kind": "expert",
        "expert": {"arch": "convnet_small"},
        "training": {"loss": {"individual": {"type": "wta"}}},
    }
    assert "one expert wins every image" in outline(parse_spec(spec)).warnings[0]
