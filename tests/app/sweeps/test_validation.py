"""Sweeps that are refused: errors by field, without an echo of the input, and quickly however large the body is."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from app.jobs.validation import parse_job
from app.settings import Settings
from app.sweeps.grid import MAX_SPEC_BYTES
from core.spec import JobSpec
from tests.app.api import EXPERT, Service
from tests.app.sweeps.sweeping import BASE, GRID, sweep

SECRET = "s3cr3t-value"


def grid(**more: Any) -> dict[str, Any]:
    return sweep({path.replace("__", "."): values for path, values in more.items()})


# The body, the location of the first error, and a part of its message.
MISTAKES: dict[str, tuple[Any, list[Any], str]] = {
    "no field": (grid(training__nothing=[1]), ["grid", "training.nothing"], "there is no such field"),
    "no field on the way": (grid(nothing__seed=[1]), ["grid", "nothing.seed"], "there is no such field"),
    "below a number": (grid(training__epochs__x=[1]), ["grid", "training.epochs.x"], "'x' is not a field of an object"),
    "no such expert": (grid(experts__7__arch=["resnet18"]), ["grid", "experts.7.arch"], "there is nothing at '7'"),
    "a wrong value": (grid(training__seed=[1, -1]), ["grid", "training.seed", 1], "(at training.seed=-1)"),
    "a wrong word": (
        sweep({"training.seed": [1, 2], "fusion.type": ["multiplicative", SECRET]}),
        ["grid", "fusion.type", 1],
        "(at training.seed=1, fusion.type[1])",
    ),
    "a wrong pair": (
        grid(num_experts=[2, 3], experts=[[{"arch": "convnet_small"}] * 2]),
        ["grid", "num_experts", 1],
        "(at num_experts=3, experts[0])",
    ),
    "a string for a number": (grid(training__epochs=["3"]), ["grid", "training.epochs", 0], "must be an integer"),
    "true for a number": (grid(training__epochs=[True]), ["grid", "training.epochs", 0], "must be an integer"),
    "no values": (grid(training__seed=[]), ["grid", "training.seed"], "at least 1 item"),
    "one value alone": (grid(training__seed=3), ["grid", "training.seed"], "must be a list"),
    "twice the same": (grid(training__seed=[1, 2, 1]), ["grid", "training.seed"], "values 1 and 3 are the same"),
    "1 and 1.0": (grid(training__loss__alpha=[1, 1.0]), ["grid", "training.loss.alpha"], "values 1 and 2"),
    "a part and its whole": (
        grid(training__loss__alpha=[1.0], training__loss=[{}]),
        ["grid", "training.loss.alpha"],
        "training.loss is in the grid too",
    ),
    "the kind": (grid(kind=["fusion", "head"]), ["grid", "kind"], "give it in base"),
    "the name": (grid(name=["a", "b"]), ["grid", "name"], "named after the values"),
    "not a path": (sweep({f"{SECRET} x": [1]}), ["grid"], "its keys are paths into"),
    "an empty grid": (sweep({}), ["grid"], "at least 1 item"),
    "too many": (
        grid(training__seed=list(range(101)), dataset__split__seed=list(range(100))),
        ["grid"],
        "10,100 points; 10,000 are allowed",
    ),
    "far too many": (
        grid(training__seed=list(range(20_000)), dataset__split__seed=list(range(20_000))),
        ["grid"],
        "400,000,000 points",
    ),
    "no base": ({"grid": GRID}, ["base"], "required"),
    "a base that is none": (sweep() | {"base": [SECRET]}, ["base"], "must be an object"),
    "a base without a kind": (sweep() | {"base": {}}, ["base", "kind"], "choose one of expert, fusion"),
    "a mistake in the base": (sweep() | {"base": BASE | {"oops": SECRET}}, ["base", "oops"], "no such field"),
    "a file": (
        sweep() | {"base": BASE | {"fusion": {"from": {"path": "/etc/passwd"}}}},
        ["base", "fusion", "from"],
        "does not accept file paths",
    ),
    "no such job": (
        grid(fusion__from=[{"job": "job_" + "0" * 26, "component": "fusion"}]),
        ["grid", "fusion.from", 0],
        "there is no job",
    ),
    "an unknown field": (sweep(parallel=SECRET), ["parallel"], "no such field"),
    "nothing at once": (sweep(max_parallel=0), ["max_parallel"], "greater than or equal to 1"),
    "a wrong tag": (sweep(tags=["a b"]), ["tags", 0], "letters, digits"),
    "33 tags": (sweep(tags=[f"t{k}" for k in range(32)]), ["base", "tags"], "at most 32"),
    "a name with a newline": (sweep(name="a\nb"), ["name"], "one line"),
    "a name that is too long": (sweep() | {"base": BASE | {"name": "n" * 201}}, ["base", "name"], "at most 200"),
    "stopping nowhere": (sweep(early_stopping=True), ["early_stopping"], "must be an object"),
    "a half": (sweep(early_stopping={"reduction_factor": 1}), ["early_stopping", "reduction_factor"], "equal to 2"),
    "no such metric": (sweep(early_stopping={"metric": SECRET}), ["early_stopping", "metric"], "during training"),
    "after the end": (
        sweep(early_stopping={"metric": "test/accuracy_fused"}), ["early_stopping", "metric"], "during training",
    ),
    "an expert's fusion": (
        {"base": EXPERT, "grid": {"training.seed": [1]}, "early_stopping": {"metric": "val/accuracy_fused"}},
        ["early_stopping", "metric"],
        "an expert job does not measure this metric",
    ),
    "nothing trained": (
        {"base": {"kind": "evaluate"}, "grid": {"training.seed": [1]}, "early_stopping": {}},
        ["early_stopping"],
        "evaluate jobs do not train",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_an_error_is_located_at_the_field_that_has_it(shared_service: Service, name: str) -> None:
    body, loc, message = MISTAKES[name]
    answer = shared_service.post("/sweeps", body)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    [first, *_] = answer.json()["errors"]
    assert first["loc"] == loc, answer.json()
    assert message in first["msg"], answer.json()
    assert SECRET not in answer.text
    assert shared_service.post("/sweeps?dry_run=true", body).status_code == 422
    assert shared_service.get("/sweeps").json()["items"] == shared_service.get("/jobs").json()["items"] == []


UNREADABLE = {
    "nothing": b"", "a list": b"[]", "NaN": b'{"base": {}, "grid": {"training.seed": [NaN]}}',
    # In a value that the grid replaces, so that it is part of no specification.
    "1e999": json.dumps(sweep()).replace('"epochs": 2', '"seed": 1e999').encode(),
    "a surrogate": json.dumps(sweep()).replace('"epochs": 2', '"seed": "\\ud800"').encode(),
    "deep": json.dumps(sweep()).replace('"epochs": 2', '"seed": ' + "[" * 900 + "]" * 900).encode(),
    "deeper": b'{"base": ' * 100_000,
}  # fmt: skip


@pytest.mark.parametrize("name", UNREADABLE)
def test_bodies_that_cannot_be_stored_are_refused(shared_service: Service, name: str) -> None:
    answer = shared_service.post("/sweeps", UNREADABLE[name])
    assert answer.status_code == 422, answer.text
    assert len(answer.json()["detail"]) > 10
    assert shared_service.get("/sweeps").json()["items"] == []


JUNK = {f"u{number}": 0 for number in range(60_000)}
LARGE = {"name": "n" * 900_000}
HUNDRED = {"training.seed": list(range(100))}
OVERSIZED: dict[str, tuple[dict[str, Any], list[Any], str]] = {
    "junk in the body": (sweep() | JUNK, ["u0"], "there is no such field"),
    "junk in the base": ({"base": BASE | JUNK, "grid": HUNDRED}, ["base"], f"{MAX_SPEC_BYTES:,} are allowed"),
    "one large value in the base": ({"base": BASE | LARGE, "grid": HUNDRED}, ["base"], "are allowed"),
    "junk in the grid": ({"base": BASE, "grid": {"dataset": [JUNK], **HUNDRED}}, ["grid"], "a point's specification"),
    "junk as the grid": ({"base": BASE, "grid": {name: [0] for name in JUNK}}, ["grid"], "at most 32"),
    "many points of a large base": (
        {"base": BASE | {"name": "n" * 200_000}, "grid": {"training.seed": list(range(10_000))}},
        ["grid"],
        "67,108,864 are allowed",
    ),
}


@pytest.mark.parametrize("name", OVERSIZED)
def test_an_oversized_sweep_is_refused_before_its_points_are_checked(shared_service: Service, name: str) -> None:
    body, loc, message = OVERSIZED[name]
    began = time.process_time()
    answer = shared_service.post("/sweeps", body)
    assert time.process_time() - began < 15
    assert answer.status_code == 422, answer.text[:300]
    errors = answer.json()["errors"]
    assert len(errors) <= 21
    assert (errors[0]["loc"], message in errors[0]["msg"]) == (loc, True), errors[0]


def test_an_error_in_the_base_is_reported_once_and_ends_the_check(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[object] = []

    def counted(settings: Settings, data: object) -> JobSpec:
        checked.append(data)
        return parse_job(settings, data)

    monkeypatch.setattr("app.sweeps.grid.parse_job", counted)
    body = {"base": BASE | {f"u{number}": 0 for number in range(3)}, "grid": HUNDRED}
    errors = service.post("/sweeps", body).json()["errors"]
    assert [error["loc"] for error in errors] == [["base", f"u{number}"] for number in range(3)]
    assert len(checked) == 1


def test_errors_of_many_points_are_limited(service: Service) -> None:
    answer = service.post("/sweeps", sweep({"training.seed": [f"s{number}" for number in range(5_000)]}))
    assert (answer.status_code, len(answer.json()["errors"])) == (422, 20)


@pytest.mark.parametrize("value", [0, -1, 1.5, "2", True, None, 10_001])
def test_points_per_task_is_a_positive_integer(shared_service: Service, value: Any) -> None:
    answer = shared_service.post("/sweeps", sweep(points_per_task=value))
    assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["points_per_task"])
