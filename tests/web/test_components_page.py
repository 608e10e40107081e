"""The page of components and the basket, without a browser."""

from __future__ import annotations

from typing import Any

import pytest
from ulid import ULID

from app.db import transaction
from app.models import Component
from tests.app.api import EXPERT, FUSION, Service
from tests.web.test_new_job import HOSTILE
from tests.web.test_security import log_in

pytestmark = pytest.mark.slow

CLASSES = list(range(10))


def expert_config(dim: int = 64, classes: list[int] = CLASSES, dataset: str = "digits") -> dict[str, Any]:
    names = [str(number) for number in classes]
    return {
        "role": "expert", "arch": "convnet_small", "feature_dim": dim, "num_classes": len(classes), "classes": classes,
        "class_names": names, "dataset": dataset, "options_feature_dim": dim,
    }  # fmt: skip


FUSION_CONFIG = {
    "role": "fusion",
    "type": "multiplicative",
    "num_experts": 2,
    "feature_dims": [64, 64],
    "input_dim": 64,
}
HEAD_CONFIG = {"role": "head", "input_dim": 64, "num_classes": 10, "class_names": [str(i) for i in CLASSES]}


def save(service: Service, job_id: str, name: str, config: dict[str, Any], score: float | None = 0.5) -> str:
    file = {"bytes": 1000, "sha256": "0" * 64, "name": f"{name}_best"}
    component = Component(
        id=f"cmp_{ULID()}",
        job_id=job_id,
        name=name,
        role=config["role"],
        epoch=3,
        metrics={},
        selected_by="val/accuracy",
        config=config,
        files={"pth": file, "safetensors": file},
        score=score,
        arch=config.get("arch"),
        dataset=config.get("dataset"),
    )
    component_id = component.id
    with transaction(service.app.state.engine) as session:
        session.add(component)
    return component_id


@pytest.fixture
def saved(service: Service) -> dict[str, str]:
    pair = service.submit({**FUSION, "name": "pair"})
    other = service.submit({**EXPERT, "name": "<b>other</b>"})
    return {
        "a": save(service, pair, "expert_0", expert_config(), 0.9),
        "b": save(service, pair, "expert_1", expert_config(), 0.8),
        "fusion": save(service, pair, "fusion", FUSION_CONFIG),
        "head": save(service, pair, "head", HEAD_CONFIG),
        "wide": save(service, other, "expert_0", expert_config(128), None),
    }


def basket(service: Service, *picks: str) -> str:
    answer = service.http.get("/ui/-/components/basket", params={"pick": list(picks)}, headers=log_in(service))
    assert answer.status_code == 200
    return str(answer.text)


def test_components_are_listed_filtered_and_sorted(service: Service, saved: dict[str, str]) -> None:
    headers = log_in(service)

    def listed(**params: str) -> list[str]:
        text = service.http.get("/ui/components", params=params, headers=headers).text
        found = [name for name, component in saved.items() if f'value="{component}"' in text]
        return sorted(found, key=lambda name: text.index(f'value="{saved[name]}"'))

    assert listed(role="expert") == ["a", "b"]
    assert listed(role="", sort="-created_at") == ["wide", "head", "fusion", "b", "a"]
    assert listed(role="expert", q="other", sort="-created_at") == ["wide"]
    text = service.http.get("/ui/components", params={"sort": "-created_at"}, headers=headers).text
    assert "&lt;b&gt;other&lt;/b&gt;" in text
    assert "<b>other" not in text
    assert "No component matches" in service.http.get("/ui/components", params={"q": "none"}, headers=headers).text


def test_without_components_the_page_says_what_to_do(service: Service) -> None:
    text = service.http.get("/ui/components", headers=log_in(service)).text
    assert "No components yet" in text
    assert "mcn demo" in text
    assert text.count("button primary") == 1


def test_a_whole_model_can_be_evaluated_and_gets_a_form(service: Service, saved: dict[str, str]) -> None:
    text = basket(service, saved["a"], saved["b"], saved["fusion"], saved["head"])
    assert "These fit together" in text
    assert all(label in text for label in ("Evaluate together", "New head", "New fusion"))
    params: dict[str, Any] = {"kind": "evaluate", "experts": [saved["a"], saved["b"]]}
    params |= {"fusion": saved["fusion"], "head": saved["head"]}
    answer = service.http.get("/ui/new", params=params, headers=log_in(service))
    assert answer.status_code == 200
    assert saved["head"] in answer.text
    assert "Show the form" not in answer.text
    assert "errors-title" not in answer.text


@pytest.mark.parametrize(
    ("picks", "problem"),
    [
        (("a", "wide", "fusion"), "expects feature dimension 64; this expert has 128"),
        (("a", "fusion"), "expects 2 experts; there are 1"),
        (("a", "b", "fusion", "narrow"), "the head expects input dimension 32"),
        (("a", "cats"), "different data sets"),
        (("five", "fusion", "fives"), "does not know the classes"),
        (("head", "fives"), "two components with the role head"),
    ],
)
def test_what_does_not_fit_is_said(
    service: Service, saved: dict[str, str], picks: tuple[str, ...], problem: str
) -> None:
    job = service.submit({**EXPERT, "name": "more"})
    saved["narrow"] = save(service, job, "head", HEAD_CONFIG | {"input_dim": 32})
    other = service.submit({**EXPERT, "name": "cats"})
    saved["cats"] = save(service, other, "expert_0", expert_config(dataset="npz:cats"))
    saved["five"] = save(service, job, "expert_0", expert_config())
    saved["fives"] = save(service, other, "head", HEAD_CONFIG | {"class_names": ["0", "1"]})
    text = basket(service, *(saved[name] for name in picks))
    assert problem in text
    assert "Evaluate together" not in text


def test_a_complete_model_has_experts_fusion_and_head(service: Service, saved: dict[str, str]) -> None:
    job = service.submit({**FUSION, "name": "whole"})
    config = {"role": "complete", "experts": [expert_config()] * 2, "fusion": FUSION_CONFIG, "head": HEAD_CONFIG}
    text = basket(service, save(service, job, "complete", config))
    assert "2 experts, fusion, head" in text
    assert "Evaluate together" in text


@pytest.mark.parametrize("junk", HOSTILE, ids=lambda text: ascii(text)[:20])
def test_junk_in_a_parameter_is_no_server_error(service: Service, junk: str) -> None:
    headers = log_in(service)
    names = ("role", "arch", "dataset", "job", "q", "sort", "cursor", "pick", "unknown")
    for path, name in [("/ui/components", name) for name in names] + [("/ui/-/components/basket", "pick")]:
        answer = service.http.get(path, params={name: junk}, headers=headers)
        assert answer.status_code < 500, name
        assert "<script>alert" not in answer.text
