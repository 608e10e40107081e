"""Single networks in a report: one row for each network that is trained in a way of its own."""

from __future__ import annotations

from typing import Any

import pytest

from app.db import transaction
from app.models import Job
from tests.app.api import FUSION, Service
from tests.app.results.predictions.trained import with_predictions
from tests.app.results.report.test_report import add_control, arrays, fusion_job, report


def single(service: Service, job_id: str, k: int, wrong: int, **changes: dict[str, Any]) -> str:
    """Gives a job a single network of seed k, with so many wrong answers and with other settings."""
    other = with_predictions(service, f"seed {k}", {"test": arrays(expert_0=wrong)}, kind="expert")
    with transaction(service.app.state.engine) as session:
        job = session.get(Job, other)
        assert job is not None
        training = job.spec["training"] | {"seed": k} | changes.get("training", {})
        job.spec = job.spec | {"expert": job.spec["expert"] | changes.get("expert", {}), "training": training}
    add_control(service, job_id, f"single_{k}", other, position=k)
    return other


def controls_of(service: Service, job_id: str) -> dict[str, dict[str, Any]]:
    return {row["label"]: row for row in report(service, job_id)["controls"] if row["jobs"]}


@pytest.mark.parametrize(
    ("changes", "first", "second"),
    [
        (
            {"expert": {"feature_dim": 256}},
            "one convnet_small with the default feature_dim",
            "one convnet_small with feature_dim 256",
        ),
        ({"training": {"epochs": 90}}, "one convnet_small with epochs 30", "one convnet_small with epochs 90"),
        ({"expert": {"arch": "resnet18"}}, "one convnet_small", "one resnet18"),
    ],
)
def test_a_network_that_differs_in_more_than_its_seed_has_a_row_and_can_be_the_best_control(
    service: Service, changes: dict[str, Any], first: str, second: str
) -> None:
    job_id = fusion_job(service)
    single(service, job_id, 0, 20)
    single(service, job_id, 1, 2, **changes)
    rows = controls_of(service, job_id)
    labels = [f"{name} on all the data" for name in (first, second)]
    assert list(rows)[:2] == labels
    assert [rows[label]["model"]["accuracy"] for label in labels] == [0.9, 0.99]
    content = report(service, job_id)
    assert content["best_control"] == labels[1]
    assert f"({labels[1]}): -4.0 points" in content["verdict"]


def test_networks_that_differ_in_their_seeds_alone_are_one_row_and_a_deep_ensemble(service: Service) -> None:
    job_id = fusion_job(service)
    ids = [single(service, job_id, k, 20) for k in range(3)]
    rows = controls_of(service, job_id)
    assert {label: row["jobs"] for label, row in rows.items()} == {
        "one network on all the data": ids[:1],
        "deep ensemble of 3 networks, each on all the data": ids,
    }


def test_a_deep_ensemble_has_networks_of_one_kind_only(service: Service) -> None:
    job_id = fusion_job(service)
    ids = [single(service, job_id, k, 20, **({"expert": {"feature_dim": 256}} if k == 2 else {})) for k in range(3)]
    rows = controls_of(service, job_id)
    usual = "convnet_small with the default feature_dim"
    assert {label: row["jobs"] for label, row in rows.items()} == {
        f"one {usual} on all the data": ids[:1],
        "one convnet_small with feature_dim 256 on all the data": ids[2:],
        "ensemble of 3 networks, one for each expert": ids,
        f"deep ensemble of 2 networks ({usual}), each on all the data": ids[:2],
    }


def test_a_network_whose_job_was_deleted_is_missing_even_if_another_one_is_there(service: Service) -> None:
    job_id = fusion_job(service)
    ids = [single(service, job_id, k, 20) for k in range(2)]
    assert service.call("DELETE", f"/jobs/{ids[1]}").status_code == 200
    notes = " ".join(report(service, job_id)["notes"])
    assert "the best one may be another: another network on all the data: its job has been deleted" in notes


def test_the_first_network_that_can_be_measured_stands_for_those_of_other_seeds(service: Service) -> None:
    job_id = fusion_job(service)
    waiting = service.submit()
    add_control(service, job_id, "single_0", waiting)
    with transaction(service.app.state.engine) as session:
        job = session.get(Job, waiting)
        assert job is not None
        job.spec = job.spec | {"training": job.spec["training"] | {"seed": 0}}
    ready = single(service, job_id, 1, 20)
    rows = controls_of(service, job_id)
    assert rows["one network on all the data"]["jobs"] == [ready]
    assert rows["deep ensemble of 2 networks, each on all the data"]["absent"] == f"{waiting} is queued"


def test_settings_in_which_a_control_differs_are_noted(service: Service) -> None:
    job_id = fusion_job(service)
    single(service, job_id, 0, 20, training={"precision": "float32"})
    notes = report(service, job_id)["notes"]
    label = "one network on all the data"
    assert f"The batch size of this job is 128; that of {label} is 64." in notes
    assert f"The precision of this job is auto; that of {label} is float32." in notes


def test_the_recipe_of_single_networks_of_experts_that_never_trained_alone_is_noted(service: Service) -> None:
    job_id = fusion_job(service)
    single(service, job_id, 0, 20)
    expected = "single network is trained by the recipe of the architecture"
    [note] = [note for note in report(service, job_id)["notes"] if expected in note]
    assert note.startswith("The experts were never trained alone")
    ids = [service.submit(), service.submit(FUSION)]
    experts = [{"from": {"job": other, "component": "expert_0"}} for other in ids]
    on_experts = service.submit({"kind": "fusion", "experts": experts, "dataset": {"name": "digits"}})
    with transaction(service.app.state.engine) as session:
        job = session.get(Job, job_id)
        assert job is not None
        stored = session.get(Job, on_experts)
        assert stored is not None
        job.spec = job.spec | {"experts": stored.spec["experts"]}
    [note] = [note for note in report(service, job_id)["notes"] if expected in note]
    assert note.startswith("Expert 1 was never trained alone")
