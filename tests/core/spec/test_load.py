from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.spec import SpecError, parse_spec, parse_text, read_mapping

FUSION = {"kind": "fusion", "experts": [{"arch": "convnet_small"}], "num_experts": 4}
JOB = "job_01J00000000000000000000000"
FROZEN = {name: {"frozen": True} for name in ("experts", "fusion", "head")}


@pytest.mark.parametrize(
    ("change", "loc", "says"),
    [
        ({"kind": "mixture"}, ("kind",), "choose one of expert, fusion, head, evaluate"),
        ({"epochs": 3}, ("epochs",), "there is no such field"),
        ({"training": {"epochs": "3"}}, ("training", "epochs"), "must be an integer"),
        ({"training": {"epochs": True}}, ("training", "epochs"), "must be an integer"),
        ({"training": {"epochs": 0}}, ("training", "epochs"), "greater than or equal to 1"),
        ({"training": {"batch_size": 1.5}}, ("training", "batch_size"), "integer"),
        ({"training": {"preset": "best"}}, ("training", "preset"), "'readme', 'as_run' or 'as_run_non_iid'"),
        (
            {"training": {"loss": {"lambda_individual": float("nan")}}},
            ("training", "loss", "lambda_individual"),
            "finite",
        ),
        (
            {"training": {"loss": {"lambda_individual": float("inf")}}},
            ("training", "loss", "lambda_individual"),
            "finite",
        ),
        ({"training": {"loss": {"alpha": 1, "lambda_individual": 1}}}, ("training", "loss"), "another name"),
        (
            {"training": {"components": {"experts": {"lr": -1e-4}}}},
            ("training", "components", "experts", "lr"),
            "greater",
        ),
        ({"fusion": {"type": "mean"}}, ("fusion", "type"), "choose one of multiplicative, multiplicativeAddition"),
        ({"fusion": {"type": "concatenation", "encoder": True}}, ("fusion",), "TransformerBase"),
        ({"experts": [{"arch": "resnet81"}]}, ("experts", 0, "arch"), "did you mean resnet18?"),
        ({"experts": []}, ("experts",), "at least 1"),
        ({"experts": [{}]}, ("experts", 0), "give arch or from"),
        ({"experts": [{"arch": "resnet18"}] * 3}, ("num_experts",), "is 4, but experts has 3"),
        ({"experts": [{"from": {"job": JOB}}]}, ("experts", 0, "from"), "name a component as"),
        ({"experts": [{"from": {"job": JOB, "component": "expert_00"}}]}, ("experts", 0, "from"), "expert_0, expert_1"),
        ({"experts": [{"from": {"component": "../../etc"}}]}, ("experts", 0, "from"), 'a component id is "cmp_"'),
        (
            {"experts": [{"from": {"job": "../x", "component": "head"}}]},
            ("experts", 0, "from", "job"),
            "followed by 26",
        ),
        ({"dataset": {"name": "mnist"}}, ("dataset", "name"), "choose one of digits"),
        ({"dataset": {"split": {"holdout": 1.0}}}, ("dataset", "split", "holdout"), "less than 1"),
        ({"name": "a\x00b"}, ("name",), "one line"),
        ({"tags": ["a b"]}, ("tags", 0), "letters, digits"),
        ({"resources": {"slurm": {"partition": "x;reboot"}}}, ("resources", "slurm", "partition"), "letters, digits"),
        ({"resources": {"slurm": {"exclude": ["n1\n"]}}}, ("resources", "slurm", "exclude", 0), "letters, digits"),
        ({"training": {"epochs": 10**400}}, ("training", "epochs"), "less than or equal"),
        (
            {"training": {"components": {"experts": {"frozen": True}}, "gradients": "pcgrad"}},
            ("training", "gradients"),
            "pcgrad combines",
        ),
        (
            {"training": {"stages": [{"epochs": 1}, {"epochs": 1, "components": FROZEN}]}},
            ("training", "stages", 1),
            "this stage freezes",
        ),
        ({"controls": "yes"}, ("controls",), "must be true or false"),
        (
            {"evaluation": {"store_predictions": "yes"}},
            ("evaluation", "store_predictions"),
            "must be 'auto', or true or false",
        ),
        (
            {"training": {"augmentation": "some"}},
            ("training", "augmentation"),
            "must be 'auto' or 'none', or an object",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place_and_what_is_allowed(change: dict, loc: tuple, says: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(SpecError) as caught:
        parse_spec(FUSION | change)
    assert [error.loc for error in caught.value.errors] == [loc]
    assert says in caught.value.errors[0].msg


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[1, 2]", "must be an object"),
        ("", "must be an object"),
        ("{a: &x 1, b: *x}", "aliases"),
        ("[" * 5000, "nested more than 32 levels"),
        ("a: b: c", "neither JSON nor YAML"),
        ("\x00", "neither JSON nor YAML"),
        (b"\xff\xfe\xfa", "neither JSON nor YAML"),
        ("kind: fusion #" + "x" * (1 << 20), "at most 1,048,576 are allowed"),
        ("kind: expert\nname: !!int ''", "neither JSON nor YAML"),
        ("kind: expert\nname: !!bool maybe", "neither JSON nor YAML"),
        ("kind: expert\nname: !!timestamp soon", "neither JSON nor YAML"),
        ("kind: expert\nexpert: {arch: resnet18}\nexpert: {arch: densenet121}", "expert is given twice"),
        ("kind: expert\nexpert: {arch: resnet18}\nname: 2020-13-45\nwhen: 1", "when: there is no such field"),
    ],
)
def test_text_that_is_no_specification_is_refused_in_one_sentence(text: str | bytes, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        parse_text(text)


def test_every_mistake_is_reported_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        parse_text('{"kind": "fusion", "experts": [{"arch": "x"}], "training": {"epochs": 0}, "oops": 1}')
    assert [".".join(map(str, error.loc)) for error in caught.value.errors] == [
        "training.epochs",
        "experts.0.arch",
        "oops",
    ]


def test_json_and_yaml_give_the_same_specification() -> None:
    yaml = "kind: fusion\nexperts: [{arch: convnet_small}]\nnum_experts: 4\ntraining: {components: {head: {lr: 1e-4}}}"
    data = FUSION | {"training": {"components": {"head": {"lr": 1e-4}}}}
    assert parse_text(yaml) == parse_text(json.dumps(data)) == parse_spec(data)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10", 10), ("-7", -7), ("+5", 5), ("0", 0), ("1_000", 1000), ("0x1F", 31), ("1e-4", 1e-4), ("1E5", 1e5),
        ("0.5", 0.5), (".5", 0.5), ("-2.", -2.0), ("1.5e3", 1500.0), (".inf", float("inf")),
        # Numbers of YAML 1.1, which nobody means.
        ("010", "010"), ("08", "08"), ("1:30", "1:30"), ("1:30.5", "1:30.5"), ("0b11", "0b11"),
        ("2026-01-31", "2026-01-31"),
    ],
)  # fmt: skip
def test_numbers_are_read_as_they_look(text: str, value: float | str) -> None:
    found = read_mapping(f"a: {text}")["a"]
    assert (found, type(found)) == (value, type(value))


def test_overrides_reach_into_objects_and_lists() -> None:
    spec = parse_text(json.dumps(FUSION), ["training.epochs=3", "experts.0.arch=resnet18", "training.loss.alpha=0.5"])
    assert spec.training.epochs == 3
    assert spec.experts[0].arch == "resnet18"  # type: ignore[union-attr]
    assert spec.training.loss.lambda_individual == 0.5


@pytest.mark.parametrize("override", ["epochs", "=3", "kind.x=1", "experts.7.arch=x", "training.epochs=[", "name.a=1"])
def test_an_override_that_cannot_be_applied_is_refused(override: str) -> None:
    with pytest.raises(SpecError):
        parse_text(json.dumps(FUSION), [override])


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
        lambda c: (
            st.lists(c) | st.dictionaries(st.sampled_from(["kind", "fusion", "experts", "training", "dataset", "x"]), c)
        ),
    )
)
def test_no_data_whatever_gives_anything_but_a_spec_error(data: object) -> None:
    given = {**FUSION, **data} if isinstance(data, dict) else data
    with contextlib.suppress(SpecError):
        parse_spec(given)
