from __future__ import annotations

from typing import Any

import pytest

from core.spec import SpecError, parse_spec, parse_stored, resolve

JOB = "job_01J00000000000000000000000"


def part(name: str) -> dict[str, Any]:
    return {"from": {"job": JOB, "component": name}}


EVALUATE = {
    "kind": "evaluate",
    "experts": [part("expert_0"), part("expert_1")],
    "fusion": part("fusion"),
    "head": part("head"),
}
WITHOUT_EFFECT: list[tuple[str, Any]] = [
    ("training.stages", [{"epochs": 2}]),
    ("training.gradients", "pcgrad"),
    ("training.epochs", 3),
    ("training.loss", {"lambda_individual": 0.5}),
    ("training.loss", {"individual": {"type": "wta"}}),
    ("training.components", {"experts": {"frozen": True}}),
    ("training.augmentation", "none"),
    ("training.select_on", "test"),
    ("training.clip_norm", 5.0),
    ("checkpoint", {"keep": 5}),
]


def with_field(path: str, value: Any) -> dict[str, Any]:
    section, _, name = path.partition(".")
    return EVALUATE | {section: {name: value} if name else value}


@pytest.mark.parametrize(("path", "value"), WITHOUT_EFFECT)
def test_an_evaluate_job_refuses_a_field_that_only_training_uses(path: str, value: Any) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(with_field(path, value))
    [error] = caught.value.errors
    assert ".".join(map(str, error.loc)) == path
    assert error.msg == "an evaluate job does not train, so this would have no effect: remove it"


@pytest.mark.parametrize("name", ["batch_size", "seed"])
def test_an_evaluate_job_has_the_fields_that_measuring_uses(name: str) -> None:
    assert getattr(resolve(parse_spec(with_field(f"training.{name}", 7))).training, name) == 7


@pytest.mark.parametrize("preset", ["readme", "as_run"])
@pytest.mark.parametrize("type", [None, "TransformerBase"])
def test_a_resolved_evaluate_job_can_be_submitted_again(preset: str, type: str | None) -> None:
    fusion = part("fusion") | ({"type": type} if type else {})
    spec = resolve(parse_spec(EVALUATE | {"fusion": fusion, "training": {"preset": preset}}))
    assert parse_spec(spec.model_dump(mode="json", by_alias=True)) == spec


def test_a_stored_evaluate_job_of_an_earlier_version_is_read() -> None:
    assert parse_stored(with_field("training.epochs", 3)).training.epochs == 3
