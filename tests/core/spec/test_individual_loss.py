from __future__ import annotations

from typing import Any

import pytest

from core.spec import JobSpec, Loss, SpecError, parse_spec, parse_stored, resolve

FUSION = {"kind": "fusion", "experts": [{"arch": "convnet_small"}], "num_experts": 3}
EXPERT = {"kind": "expert", "expert": {"arch": "convnet_small"}}
SOURCED = {"kind": "expert", "expert": {"from": {"component": "cmp_01J00000000000000000000000"}}}


def resolved(loss: dict[str, Any], job: dict[str, Any] = FUSION) -> JobSpec:
    return resolve(parse_spec(job | {"training": {"loss": loss}}))


def loss_of(loss: dict[str, Any], job: dict[str, Any] = FUSION) -> Loss:
    return resolved(loss, job).training.loss


@pytest.mark.parametrize("job", [FUSION, EXPERT, SOURCED], ids=["fusion", "expert", "sourced"])
@pytest.mark.parametrize(
    ("given", "kind", "reduction"),
    [
        ({}, "sum", "sum"),
        ({"individual_reduction": "sum"}, "sum", "sum"),
        ({"individual_reduction": "mean"}, "mean", "mean"),
        ({"individual": {"type": "mean"}}, "mean", "mean"),
        ({"individual": {"type": None}, "individual_reduction": "mean"}, "mean", "mean"),
        ({"individual": {"type": "mean"}, "individual_reduction": "mean"}, "mean", "mean"),
        ({"individual": {"type": "wta"}}, "wta", None),
        ({"individual": {"type": "wta"}, "individual_reduction": None}, "wta", None),
        ({"individual": {"type": "annealed", "temperature": 3.0}}, "annealed", None),
    ],
)
def test_a_resolved_loss_has_its_type_and_an_agreeing_reduction(
    given: dict[str, Any], kind: str, reduction: str | None, job: dict[str, Any]
) -> None:
    spec = resolved(given, job)
    loss = spec.training.loss
    assert (loss.individual.type, loss.individual_reduction) == (kind, reduction)
    assert resolve(spec) == spec
    stored = spec.model_dump(mode="json", by_alias=True)
    assert resolve(parse_stored(stored)) == spec


def test_only_the_options_of_the_type_are_filled_in() -> None:
    def options(kind: str, **given: Any) -> dict[str, Any]:
        dumped = loss_of({"individual": {"type": kind, **given}}).individual.model_dump(exclude_none=True)
        return {name: value for name, value in dumped.items() if name != "type"}

    assert options("wta") == options("sum") == {}
    assert options("relaxed") == {"epsilon": 0.05}
    assert options("relaxed", epsilon=0.2) == {"epsilon": 0.2}
    assert options("confident") == {"confidence_weight": 0.75}
    assert options("annealed") == {"temperature": 1.0, "final_temperature": 0.01, "schedule": "exponential"}
    assert options("annealed", temperature=5.0)["final_temperature"] == pytest.approx(0.05)
    linear = options("annealed", schedule="linear", final_temperature=0.0)
    assert linear == {"temperature": 1.0, "final_temperature": 0.0, "schedule": "linear"}


def test_a_specification_from_before_there_were_types_means_the_same() -> None:
    data = resolve(parse_spec(FUSION)).model_dump(mode="json", by_alias=True)
    del data["training"]["loss"]["individual"]
    assert data["training"]["loss"]["individual_reduction"] == "sum"
    assert resolve(parse_stored(data)) == resolve(parse_spec(FUSION))
    data["training"]["loss"]["individual_reduction"] = "mean"
    assert resolve(parse_stored(data)).training.loss.individual.type == "mean"


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ({"individual_reduction": "sum", "individual": {"type": "wta"}},
         "individual_reduction is sum, but individual.type is wta: give only one of them, and null for"),
        ({"individual_reduction": "mean", "individual": {"type": "sum"}}, "is mean, but individual.type is sum"),
        ({"individual": {"type": "wta", "epsilon": 0.1}}, "epsilon is an option of type relaxed, not of wta: rem"),
        ({"individual": {"type": "relaxed", "temperature": 1.0}}, "temperature is an option of type annealed, not of"),
        ({"individual": {"epsilon": 0.1}}, "epsilon is an option of type relaxed: give type: relaxed, or remove eps"),
        ({"individual": {"type": "annealed", "final_temperature": 2.0}}, "final_temperature is 2, above the temp"),
        ({"individual": {"type": "annealed", "final_temperature": 0.0}}, "an exponential schedule never reaches"),
        ({"individual": {"type": "relaxed", "epsilon": 0.6}}, "less than or equal to 0.5"),
        ({"individual": {"type": "winner"}}, "must be 'sum', 'mean', 'wta', 'relaxed', 'annealed' or 'confident'"),
    ],
)  # fmt: skip
def test_what_contradicts_or_belongs_to_another_type_is_refused(loss: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        loss_of(loss)
    assert message in str(caught.value)
