from __future__ import annotations

from typing import Any

import pytest

from core.spec import parse_spec, resolve
from core.spec.result_neutral_fields import RESULT_NEUTRAL_FIELDS, result_fields, resume_fields

JOB = {"kind": "fusion", "experts": [{"arch": "convnet_small"}]}


def resolved(**fields: Any) -> dict[str, Any]:
    return resolve(parse_spec(JOB | fields)).model_dump(mode="json", by_alias=True)


NEUTRAL: dict[str, Any] = {
    "name": "other",
    "tags": ["x"],
    "priority": 5,
    "max_attempts": 1,
    "checkpoint": {"every_steps": 3},
    "tracking": {"wandb": {"mode": "offline"}},
    "controls": True,
    "evaluation": {"store_predictions": False},
}


def test_every_neutral_field_is_tried_here() -> None:
    assert set(NEUTRAL) == set(RESULT_NEUTRAL_FIELDS)


@pytest.mark.parametrize("field", NEUTRAL)
def test_neutral_fields_decide_neither_reuse_nor_resuming(field: str) -> None:
    changed = resolved(**{field: NEUTRAL[field]})
    assert result_fields(changed) == result_fields(resolved())
    assert resume_fields(changed) == resume_fields(resolved())


@pytest.mark.parametrize(
    "resources",
    [
        {"executor": "slurm"},
        {"memory_gb": 8},
        {"time_limit_min": 5},
        {"hang_timeout_min": 5},
        {"slurm": {"partition": "low"}},
    ],
)
def test_resources_other_than_counts_are_neutral(resources: dict[str, Any]) -> None:
    assert result_fields(resolved(resources=resources)) == result_fields(resolved())


@pytest.mark.parametrize("resources", [{"cpus": 7}, {"gpus": 0}, {"nodes": 2}])
def test_counts_of_resources_forbid_reuse_but_not_resuming(resources: dict[str, Any]) -> None:
    changed = resolved(resources=resources)
    assert result_fields(changed) != result_fields(resolved())
    assert resume_fields(changed) == resume_fields(resolved())


def test_all_other_fields_are_decisive() -> None:
    spec = resolved()
    assert set(result_fields(spec)) == set(spec) - set(RESULT_NEUTRAL_FIELDS)
    assert set(resume_fields(spec)) == set(result_fields(spec)) - {"resources"}
