"""Everything that decides a result is in its digest, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from core.run.environment import Device, Environment, Software
from core.run.identity import RunIdentity, inputs_digest
from core.spec import parse_spec, resolve
from tests.core.jobs import fusion

HERE = Environment(Software("c0de", {"torch": "2.15.0"}), Device("cpu", "a CPU", "avx2"), "float32", 2, 1)
IDENTITY = RunIdentity("1" * 64, {"dataset": "digits", "sha256": "d" * 64}).continued(0, HERE)
SPEC = resolve(parse_spec(fusion())).model_dump(mode="json", by_alias=True)


def computed_by(*environments: Environment) -> RunIdentity:
    identity = replace(IDENTITY, segments=())
    for k, environment in enumerate(environments):
        identity = identity.continued(10 * k, environment)
    return identity


@pytest.mark.parametrize(
    "other",
    [
        replace(IDENTITY, inputs="2" * 64),
        replace(IDENTITY, data={"dataset": "digits", "sha256": "e" * 64}),
        replace(IDENTITY, data=None),
        replace(IDENTITY, pretrained={"expert": "f" * 64}),
        computed_by(replace(HERE, threads=4)),
        computed_by(replace(HERE, precision="bfloat16")),
        computed_by(replace(HERE, software=Software("c0de", {"torch": "2.16.0"}))),
        computed_by(replace(HERE, device=Device("cpu", "another CPU", "avx2"))),
        computed_by(HERE, replace(HERE, threads=4)),
    ],
    ids=["inputs", "data", "unknown data", "weights", "threads", "precision", "torch", "device", "two environments"],
)
def test_whatever_decides_the_result_changes_the_digest(other: RunIdentity) -> None:
    assert other.digest != IDENTITY.digest


def test_interruptions_and_the_name_of_the_data_do_not_change_the_digest() -> None:
    assert computed_by(HERE, HERE, HERE).digest == IDENTITY.digest
    assert replace(IDENTITY, data={"dataset": "npz:moved.npz", "sha256": "d" * 64}).digest == IDENTITY.digest
    assert RunIdentity.from_json(IDENTITY.to_json()) == IDENTITY


def test_when_an_environment_took_over_decides_the_result() -> None:
    other = replace(HERE, threads=4)
    assert IDENTITY.continued(10, other).digest != IDENTITY.continued(20, other).digest


def test_data_that_changed_leave_no_digest() -> None:
    assert replace(IDENTITY, data_changed=True).digest == ""


def with_expert(**changes: Any) -> dict[str, Any]:
    first, *others = SPEC["experts"]
    return SPEC | {"experts": [first | changes, *others]}


def test_components_count_by_their_content_and_not_by_their_paths() -> None:
    moved = with_expert(**{"from": {"path": "/elsewhere/expert.pth"}})
    paths = with_expert(**{"from": {"path": "/here/expert.pth"}})
    assert inputs_digest(moved, {"experts.0": "a"}) == inputs_digest(paths, {"experts.0": "a"})
    digests = [
        inputs_digest(paths, sources) for sources in ({"experts.0": "a"}, {"experts.0": "b"}, {"experts.1": "a"})
    ]
    assert len(set(digests)) == 3


def test_inputs_are_the_fields_that_decide_the_result() -> None:
    assert inputs_digest(SPEC | {"name": "another", "tags": ["a"]}, {}) == inputs_digest(SPEC, {})
    assert inputs_digest(with_expert(dropout=0.5), {}) != inputs_digest(SPEC, {})
