"""The form of a new job: its table of fields, form and text, and the routes, without a browser."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import pytest

from app.web.views.form_fields import FIELDS, SECTIONS, SHORT
from app.web.views.form_values import to_spec, to_values
from app.web.views.formulas import FORMULAS
from app.web.views.spec_leaves import leaves
from app.web.views.spec_text import given_fields, read_text, to_text, to_yaml
from core.spec import FUSION_TYPES, KINDS, SpecError, parse_spec
from tests.app.api import FUSION, Service
from tests.core.impossible_specs import IMPOSSIBLE
from tests.web.test_security import log_in

HOSTILE = [
    "<script>alert(1)</script>", "\x1b[31mred", "\u202eabc", "a" * 10_000, "%00", "'\"><img src=x>", "{{7*7}}", "-1",
    "1e999", "cmp_" + "0" * 26, "..",
]  # fmt: skip


def post(service: Service, fields: dict[str, str], path: str = "/ui/new", user: str = "alice") -> Any:
    return service.http.post(path, data=fields, headers=log_in(service, user), follow_redirects=False)


def get(service: Service, path: str, params: Any = None) -> Any:
    return service.http.get(path, params=params, headers=log_in(service))


def test_every_field_of_a_specification_has_a_row_and_no_row_is_left_over() -> None:
    paths = {leaf.path for kind in KINDS for leaf in leaves(kind)}
    assert paths == set(FIELDS)
    assert {info.section for info in FIELDS.values()} == set(SECTIONS)
    assert set(FORMULAS) == set(FUSION_TYPES)


SPECS: list[dict[str, Any]] = [
    {"kind": "expert", "expert": {"arch": "resnet18", "shard": 1}, "dataset": {"split": {"num_shards": 2}}},
    {
        "kind": "fusion",
        "name": "1e-4",
        "tags": ["a", "b"],
        "experts": [{"arch": "convnet_small", "pretrained": False}, {"from": {"component": "cmp_" + "A" * 26}}],
        "fusion": {"from": {"job": "job_" + "A" * 26, "component": "fusion"}},
        "training": {
            "components": {"head": {"lr": 1e-4, "schedule": {"type": "CosineAnnealingLR", "t_max": 3}}},
            "augmentation": {"flip": False, "jitter": [0.1, 0.2, 0.3, 0.1], "randaugment": [2, 9]},
            "stages": [{"epochs": 2, "components": {"experts": {"frozen": True}}}, {"epochs": 1}],
            "gradients": "pcgrad",
        },
        "dataset": {"split": {"version": 1}},
    },
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec["kind"])
def test_form_and_text_stand_for_the_same_specification(spec: dict[str, Any]) -> None:
    values = to_values(spec["kind"], spec)
    assert parse_spec(to_spec(spec["kind"], values)) == parse_spec(spec)
    assert read_text(to_yaml(spec)) == spec
    assert read_text(to_text(spec, like="{")) == spec


def test_the_form_makes_only_what_is_given_and_leaves_empty_rows_out() -> None:
    values = {"experts.0.arch": " ", "experts.2.arch": "resnet18", "training.epochs": "three", "name": ""}
    assert to_spec("fusion", values) == {
        "kind": "fusion",
        "experts": [{"arch": "resnet18"}],
        "training": {"epochs": "three"},
    }


@pytest.mark.parametrize("text", ["[{", "NaN", '"\\ud800"', "[" * 100_000, "3", "[NaN]"])
def test_text_that_is_no_list_of_stages_is_refused_beside_its_field(service: Service, text: str) -> None:
    fields = {"kind": "fusion", "experts.0.arch": "convnet_small", "training.stages": text, "action": "submit"}
    answer = post(service, fields)
    assert answer.status_code == 422
    error = re.search(r'id="e-training.stages" data-error="[^"]*">([^<]*)<', answer.text)
    assert error
    assert "must be a list" in error[1]


def test_the_form_keeps_stages_and_shows_their_errors_and_plan(service: Service) -> None:
    stages = [{"epochs": 2, "components": {"experts": {"frozen": True}}}, {"epochs": 1}]
    fields = {"kind": "fusion", "experts.0.arch": "convnet_small", "training.stages": json.dumps(stages)}
    text = post(service, fields | {"action": "check"}).text
    assert html.escape(json.dumps(stages)) in text.replace("&#34;", "&quot;")
    assert "epochs 1 to 2: experts frozen, fusion lr" in text
    wrong = post(service, fields | {"training.stages": '[{"epochs": 0}]', "action": "submit"})
    error = re.search(r'id="e-training.stages" data-error="[^"]*">([^<]*)<', wrong.text)
    assert error
    assert "greater than or equal to 1" in error[1]


def test_a_job_that_cannot_start_is_refused_beside_its_field(service: Service) -> None:
    for spec, field, message in IMPOSSIBLE:
        answer = post(service, to_values(spec["kind"], spec) | {"kind": spec["kind"], "action": "submit"})
        assert answer.status_code == 422, field
        error = re.search(rf'id="e-{re.escape(field)}" data-error="[^"]*">([^<]*)<', answer.text)
        assert error, field
        assert html.unescape(error[1]).strip().casefold().startswith(message.casefold())


@pytest.mark.parametrize("text", ["a: &x 1\nb: *x", "[1]", "a: !!binary aGk=", 'a: "\\ud800"', "a: .nan", "x" * 2**21])
def test_text_that_is_no_plain_mapping_is_refused(text: str) -> None:
    with pytest.raises(SpecError):
        read_text(text)


def test_the_page_shows_an_example_with_its_plan(service: Service) -> None:
    for kind in KINDS:
        answer = get(service, "/ui/new", {"kind": kind})
        assert answer.status_code == 200
        assert 'class="field-error" id="e-name" data-error="name" hidden' in answer.text
    text = get(service, "/ui/new").text
    assert "Learning rates" in text
    assert "Expected on CIFAR-100, not measured here" in text
    assert "<td>80 to 85 %" in text


def test_only_what_most_jobs_set_is_not_folded(service: Service) -> None:
    for kind in KINDS:
        text = re.sub(r"<details.*?</details>", "", get(service, "/ui/new", {"kind": kind}).text, flags=re.DOTALL)
        names = re.findall(r'name="([^"]+)" (?:data-field|value="[^"]*" data-field)', text)
        rows = [f"experts.0.{name}" for name in ("arch", "from")] if kind != "expert" else []
        assert sorted(set(names)) == sorted([*SHORT[kind], *rows]), kind
    # What is given is not hidden.
    job_id = service.submit({**FUSION, "training": {"batch_size": 7}})
    text = get(service, "/ui/new", {"from": job_id}).text
    opened = re.findall(r"<details open>.*?</details>", text, flags=re.DOTALL)
    assert len(opened) == 1
    assert 'value="7"' in opened[0]


def test_a_double_click_makes_one_job_and_a_change_another(service: Service) -> None:
    key = re.search(r'name="key" value="([0-9A-Z]{26})"', get(service, "/ui/new").text)
    assert key
    fields = {"kind": "expert", "expert.arch": "convnet_small", "name": "one", "key": key[1], "action": "submit"}
    first, second = post(service, fields), post(service, fields)
    assert first.status_code == second.status_code == 303
    assert first.headers["location"] == second.headers["location"]
    assert post(service, fields | {"name": "two"}).headers["location"] != first.headers["location"]
    jobs = service.get("/jobs").json()["items"]
    assert sorted(job["name"] for job in jobs) == ["one", "two"]
    assert "training" in jobs[0]["defaulted"]


def test_errors_stand_beside_their_fields(service: Service) -> None:
    fields = {"kind": "fusion", "experts.1.arch": "resnet", "training.epochs": "many", "action": "submit"}
    answer = post(service, fields)
    assert answer.status_code == 422
    for name, message in (("experts.1.arch", "did you mean resnet18"), ("training.epochs", "must be an integer")):
        error = re.search(rf'id="e-{re.escape(name)}" data-error="[^"]*">([^<]*)<', answer.text)
        assert error
        assert message in error[1]
    # What was entered is still there.
    assert 'value="many"' in answer.text


def test_the_text_leads_if_it_was_edited(service: Service) -> None:
    text = "kind: expert\nname: from text\nexpert: {arch: convnet_small}\n"
    fields = {"kind": "fusion", "name": "from form", "text": text, "edited": "text"}
    plan = post(service, fields, "/ui/-/new/plan").text
    assert "the form shows fusion" in plan
    assert "from text" in plan
    assert "Show the form for expert" in plan
    page = post(service, fields | {"action": "check"})
    assert page.status_code == 200
    assert 'name="expert.arch"' in page.text
    broken = post(service, fields | {"text": "a: *b", "action": "submit"})
    assert (broken.status_code, "aliases" in broken.text) == (422, True)
    assert "a: *b" in broken.text


def test_a_job_is_copied_with_what_was_given(service: Service) -> None:
    job_id = service.submit(
        {**FUSION, "num_experts": 3, "training": {"components": {"head": {"schedule": "constant"}}}}
    )
    view = service.get(f"/jobs/{job_id}").json()
    given = given_fields(view["spec"], view["defaulted"])
    assert given == {
        "kind": "fusion",
        "experts": [{"arch": "convnet_small"}],
        "num_experts": 3,
        "training": {"components": {"head": {"schedule": {"type": "constant"}}}},
    }
    answer = get(service, "/ui/new", {"from": job_id})
    assert "num_experts: 3" in answer.text
    assert get(service, "/ui/new", {"from": "job_x"}).status_code == 404


def test_viewers_plan_but_do_not_submit(service: Service) -> None:
    headers = log_in(service, "eve")
    assert "Your token may only read" in service.http.get("/ui/new", headers=headers).text
    fields = {"kind": "expert", "expert.arch": "convnet_small", "action": "submit"}
    assert service.http.post("/ui/-/new/plan", data=fields, headers=headers).status_code == 200
    assert service.http.post("/ui/new", data=fields, headers=headers).status_code == 403
    assert service.get("/jobs").json()["items"] == []


@pytest.mark.parametrize("junk", HOSTILE, ids=lambda text: ascii(text)[:20])
def test_junk_in_any_field_is_shown_as_text(service: Service, junk: str) -> None:
    headers = log_in(service)
    for kind in ("fusion", "expert"):
        every = {leaf.path.replace("*", "0"): junk for leaf in leaves(kind)}
        for path in ("/ui/new", "/ui/-/new/plan", "/ui/sweeps/new", "/ui/-/sweeps/plan"):
            for extra in ({"edited": junk}, {"edited": "text", "text": junk}, {"path": junk, "values": junk}):
                fields = every | {"kind": kind, "key": junk, "base": junk, "seeds": junk} | extra
                answer = service.http.post(path, data=fields, headers=headers)
                assert answer.status_code < 500, (path, extra)
                assert "<script>alert" not in answer.text
                assert "<img src=x" not in answer.text
    for name in ("kind", "from", "experts", "fusion", "head", "unknown"):
        assert service.http.get("/ui/new", params={name: junk}, headers=headers).status_code < 500, name
    nested = f"kind: fusion\n{'name'}: {{{junk!r}: [1, {{2: 3}}]}}\nexperts: {{a: b}}\nfusion: 3\ntraining: [x]"
    fields = {"kind": "fusion", "edited": "text", "text": nested}
    assert service.http.post("/ui/-/new/plan", data=fields, headers=headers).status_code == 200
    assert service.http.post("/ui/new", data=fields, headers=headers).status_code < 500


def test_too_many_fields_and_too_much_text_are_refused(service: Service) -> None:
    headers = log_in(service)
    many = {f"experts.{number}.arch": "x" for number in range(2000)}
    assert 400 <= service.http.post("/ui/new", data=many, headers=headers).status_code < 500
    large = {"edited": "text", "text": "a" * (2 << 20)}
    assert service.http.post("/ui/new", data=large, headers=headers).status_code == 413


def test_what_the_script_reads_keeps_its_quotes_in_the_attribute(service: Service) -> None:
    fields = {"kind": "fusion", "edited": "text", "text": "kind: fusion\nname: '\" data-x=\"1'\nexperts: []"}
    plan = post(service, fields, "/ui/-/new/plan").text
    values = re.search(r'data-values="([^"]*)"', plan)
    assert values
    assert json.loads(html.unescape(values[1]))["name"] == '" data-x="1'


def test_a_plan_counts_the_controls_with_their_cost_and_says_why_some_are_absent(service: Service) -> None:
    text = "{kind: fusion, experts: [{arch: convnet_small}], num_experts: 2, dataset: {name: digits}, controls: true}"
    plan = html.unescape(post(service, {"text": text, "edited": "text"}, "/ui/-/new/plan").text)
    assert "<dd>3 more jobs, or equal ones that exist; no frozen: experts that start untrained would" in plan
    assert "for 4 of 4, this job and its 3 controls" in plan
