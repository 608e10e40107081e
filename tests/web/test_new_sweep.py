"""The form of a new sweep, without a browser."""

from __future__ import annotations

from typing import Any

import pytest

from app.web.views.sweep_form import read_list, read_sweep_form, to_sweep
from tests.app.api import EXPERT, Service
from tests.web.test_security import log_in

BASE = "kind: expert\nexpert: {arch: convnet_small}\ntraining: {epochs: 1}\n"
FIELDS: dict[str, Any] = {
    "name": "rates",
    "base": BASE,
    "path": ["training.components.experts.lr", "training.batch_size", ""],
    "values": ["[0.1, 0.01]", "32, 64", ""],
    "seeds": "1, 2",
    "max_parallel": "2",
    "early": "1",
    "min_epochs": "1",
    "key": "A" * 26,
}


def post(service: Service, fields: dict[str, Any], path: str = "/ui/sweeps/new") -> Any:
    return service.http.post(path, data=fields, headers=log_in(service), follow_redirects=False)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("[0.5, 1]", [0.5, 1]),
        ("a, b", ["a", "b"]),
        ('["a, b"]', ["a, b"]),
        ("1e-4", [1e-4]),
        ("", None),
        ("[1", None),
        ("1]\nother: [2", None),
        ("[1]\nother: 2", None),
        ("*a", None),
    ],
)
def test_values_are_json_or_separated_by_commas(text: str, values: list[Any] | None) -> None:
    assert read_list(text) == values


def test_a_field_that_is_given_twice_is_an_error() -> None:
    form = read_sweep_form([("path", "training.seed"), ("values", "1"), ("seeds", "2"), ("base", BASE)])
    assert to_sweep(form)[1] == [
        {"loc": ["grid", "training.seed"], "msg": "is given twice: put all its values into one row"}
    ]


def test_a_plan_counts_the_controls(service: Service) -> None:
    base = "{kind: fusion, experts: [{arch: convnet_small}], num_experts: 2, dataset: {name: digits}, controls: true}"
    fields = {"base": base, "path": ["fusion.type"], "values": ["multiplicative, simpleAddition"]}
    plan = post(service, fields, "/ui/-/sweeps/plan").text
    assert "<dt>Controls</dt><dd>3 new, 0 reused; no frozen of 2 points: <bdi>experts that start untrained" in plan
    assert "<dt>Controls</dt>" not in post(service, FIELDS, "/ui/-/sweeps/plan").text


def test_a_check_counts_and_a_submission_creates_one_sweep(service: Service) -> None:
    plan = post(service, FIELDS, "/ui/-/sweeps/plan")
    assert "<dt>Points</dt><dd>8</dd>" in plan.text
    assert service.get("/sweeps").json()["items"] == []
    assert post(service, FIELDS | {"action": "check"}).status_code == 200
    first, second = (post(service, FIELDS | {"action": "submit"}) for _ in range(2))
    assert first.status_code == 303
    assert first.headers["location"] == second.headers["location"]
    sweep = service.get("/sweeps").json()["items"]
    assert [(row["count"], row["max_parallel"]) for row in sweep] == [(8, 2)]
    assert sweep[0]["early_stopping"]["min_epochs"] == 1


def test_errors_are_listed_and_the_entries_stay(service: Service) -> None:
    answer = post(service, FIELDS | {"action": "submit", "max_parallel": "two", "values": ["[0.1", "32", ""]})
    assert answer.status_code == 422
    assert "give a list of values" in answer.text
    assert 'value="two"' in answer.text
    answer = post(service, FIELDS | {"action": "submit", "path": ["training.no", "training.batch_size", ""]})
    assert (answer.status_code, "there is no such field" in answer.text) == (422, True)


def test_the_base_comes_from_a_job_or_from_the_form_of_a_new_job(service: Service) -> None:
    job_id = service.submit(EXPERT)
    headers = log_in(service)
    text = service.http.get("/ui/sweeps/new", params={"from": job_id}, headers=headers).text
    assert "arch: convnet_small" in text
    assert service.http.get("/ui/sweeps/new", params={"from": "x"}, headers=headers).status_code == 404
    fields = {"kind": "expert", "expert.arch": "resnet18", "action": "sweep"}
    assert "arch: resnet18" in post(service, fields).text


def test_many_points_are_counted_while_typing_and_planned_when_asked(service: Service) -> None:
    many = FIELDS | {"seeds": ", ".join(map(str, range(200)))}
    assert "Press Check" in post(service, many, "/ui/-/sweeps/plan").text
