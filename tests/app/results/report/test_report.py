"""Reports: only what was measured, every figure with its interval, controls with their difference, in plain words."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from app.db import transaction
from app.jobs.control_queries import insert_controls
from app.models import Job
from app.results.predictions.stored import StoredSplit
from tests.app.api import EXPERT, FUSION, Service
from tests.app.results.predictions.trained import Arrays, logits_of, succeed, with_predictions

NUM = 200
LABELS = np.arange(NUM) % 3


def answers(num_wrong: int, first: int = 0) -> np.ndarray:
    """Predicted classes with this many wrong ones, from image `first` on."""
    predicted = LABELS.copy()
    wrong = (first + np.arange(num_wrong)) % NUM
    predicted[wrong] = (predicted[wrong] + 1) % 3
    return predicted


def arrays(**wrong: int) -> Arrays:
    """Test predictions of these paths with so many wrong answers, each path's at images of its own."""
    content: Arrays = {"labels": LABELS}
    for index, (path, count) in enumerate(wrong.items()):
        content[f"logits_{path}"] = logits_of(answers(count, 40 * index))
    return content


def fusion_job(service: Service, name: str = "pair", **wrong: int) -> str:
    paths = {"fused": 10, "expert_0": 30, "expert_1": 50} | wrong
    return with_predictions(service, name, {"test": arrays(**paths)}, metrics={"test/accuracy_fused": 0.95})


def add_control(
    service: Service, job_id: str, role: str, other: str | None, absent: str | None = None, position: int = 0
) -> None:
    row = {"job_id": job_id, "role": role, "position": position, "reused": False}
    with transaction(service.app.state.engine) as session:
        insert_controls(session, [row | {"control_job_id": other, "absent": absent}])


def trained_control(service: Service, job_id: str, role: str, wrong: int, position: int = 0) -> None:
    """Gives a job a control that has succeeded with so many wrong answers."""
    other = with_predictions(service, role, {"test": arrays(expert_0=wrong)}, kind="expert")
    add_control(service, job_id, role, other, position=position)


def report(service: Service, job_id: str) -> dict[str, Any]:
    answer = service.get(f"/jobs/{job_id}/report")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_every_path_has_its_figures_and_the_difference_from_the_fused_path(service: Service) -> None:
    content = report(service, fusion_job(service))
    figures = {row["label"]: row for row in content["figures"]}
    assert list(figures)[:3] == ["fused", "expert 0", "expert 1"]
    assert figures["fused"]["model"]["accuracy"] == 0.95
    assert figures["fused"]["fused_minus"] is None
    expert = figures["expert 0"]
    assert expert["fused_minus"]["value"] == pytest.approx(0.1)
    assert expert["model"]["low"] < 0.85 < expert["model"]["high"]


def test_without_controls_the_report_says_that_it_cannot_tell_whether_fusion_pays(service: Service) -> None:
    content = report(service, fusion_job(service))
    assert "cannot say whether fusion beats a single network" in content["notes"][0]
    assert content["best_control"] == "mean of the experts' probabilities"
    roles = [row["role"] for row in content["controls"]]
    assert roles == ["best_expert", "ensemble_probabilities", "ensemble_product"]


def test_the_verdict_compares_with_the_control_that_is_hardest_to_beat(service: Service) -> None:
    job_id = fusion_job(service)
    trained_control(service, job_id, "single_0", 4)
    trained_control(service, job_id, "single_1", 20, position=1)
    frozen = "the experts of this job are frozen themselves"
    add_control(service, job_id, "frozen", None, frozen, position=2)
    content = report(service, job_id)
    rows = {row["role"]: row for row in content["controls"]}
    assert content["best_control"] == "one network on all the data"
    difference = rows["single_0"]["fused_minus"]
    assert content["verdict"].startswith(
        "Fused minus best control (one network on all the data): -3.0 points, 95 % interval"
    )
    assert f"p = {difference['p']:.2g}" in content["verdict"]
    assert rows["deep_ensemble"]["jobs"] == [rows["single_0"]["jobs"][0], rows["deep_ensemble"]["jobs"][1]]
    assert (rows["frozen"]["model"], rows["frozen"]["absent"], rows["frozen"]["jobs"]) == (None, frozen, [])
    # Nothing is missing: this job is that control itself.
    assert not any("frozen themselves" in note or "Not every control" in note for note in content["notes"])


def test_a_control_that_has_not_finished_is_a_reason_to_wait(service: Service) -> None:
    job_id = fusion_job(service)
    other = service.submit(FUSION)
    row = {
        "job_id": job_id,
        "role": "single_0",
        "position": 0,
        "control_job_id": other,
        "reused": False,
        "absent": None,
    }
    with transaction(service.app.state.engine) as session:
        insert_controls(session, [row])
    notes = " ".join(report(service, job_id)["notes"])
    assert f"the best one may be another: one network on all the data: {other} is queued" in notes


def test_a_control_that_stored_no_predictions_says_what_to_do(service: Service) -> None:
    job_id = fusion_job(service)
    other = service.submit(EXPERT | {"evaluation": {"store_predictions": False}})
    run = service.settings.runs_dir / other
    run.mkdir(parents=True)
    absent = {"absent": "evaluation.store_predictions is false"}
    run.joinpath("result.json").write_text(json.dumps({"metrics": {}, "predictions": {"test": absent}}))
    succeed(service, other)
    for position, role in enumerate(("single_0", "single_1")):
        add_control(service, job_id, role, other, position=position)
    content = report(service, job_id)
    expected = (
        f"{other} stored no predictions (evaluation.store_predictions: false). Submit this job again with controls"
    )
    assert [row["absent"].startswith(expected) for row in content["controls"] if row["model"] is None] == [True, True]
    assert expected in " ".join(content["notes"])
    # And so does its own report.
    answer = service.get(f"/jobs/{other}/report")
    assert answer.status_code == 404
    assert answer.json()["detail"].endswith("submit the job again with evaluation.store_predictions: true")


def test_the_deep_ensemble_is_the_mean_of_the_probabilities_of_its_members(service: Service) -> None:
    job_id = fusion_job(service)
    for k, wrong in enumerate((20, 30, 10)):
        trained_control(service, job_id, f"single_{k}", wrong, position=k)
    rows = {row["role"]: row for row in report(service, job_id)["controls"]}
    # All members err on the first ten images, two on ten more.
    assert rows["deep_ensemble"]["model"]["accuracy"] == 0.9
    assert rows["deep_ensemble"]["label"] == "deep ensemble of 3 networks, each on all the data"


def test_what_was_computed_for_a_report_is_kept_for_the_next_one(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = fusion_job(service)
    for k, wrong in enumerate((20, 30)):
        trained_control(service, job_id, f"single_{k}", wrong, position=k)
    first = report(service, job_id)
    read = Mock(side_effect=AssertionError("logits are read again"))
    monkeypatch.setattr(StoredSplit, "logits", read)
    assert report(service, job_id) == first
    assert {row["role"] for row in first["controls"] if row["model"]} >= {"single_0", "deep_ensemble"}


def test_other_images_are_absent_with_the_reason(service: Service) -> None:
    job_id = fusion_job(service)
    few = {"labels": LABELS[:50], "logits_expert_0": logits_of(LABELS[:50])}
    other = with_predictions(service, "other", {"test": few}, kind="expert")
    add_control(service, job_id, "single_0", other)
    [single] = [row for row in report(service, job_id)["controls"] if row["role"] == "single_0"]
    assert "were not measured on the same test images" in single["absent"]


def test_a_report_of_an_expert_has_its_accuracy_with_an_interval(service: Service) -> None:
    job_id = with_predictions(service, "alone", {"test": arrays(expert_0=20)}, kind="expert")
    content = report(service, job_id)
    assert content["verdict"].startswith("Accuracy 90.0 % (95 % interval ")
    assert (content["controls"], content["best_control"]) == ([], None)


def test_markdown_has_every_section_and_hides_the_marks_of_a_name(service: Service) -> None:
    job_id = fusion_job(service, "a|b *bold*")
    trained_control(service, job_id, "single_0", 4)
    answer = service.get(f"/jobs/{job_id}/report?format=markdown")
    assert answer.headers["content-type"] == "text/markdown; charset=utf-8"
    text = answer.text
    for heading in ("trained on what", "Figures on", "Controls", "each expert is worth", "cannot claim", "Provenance"):
        assert any(line.startswith("## ") and heading in line for line in text.splitlines()), heading
    assert text.startswith("# a\\|b \\*bold\\*\n")
    rows = [line for line in text.splitlines() if line.startswith(("| one network", "| fused |"))]
    assert len(rows) == 2
    # There are too few validation images to scale by a temperature.
    widths = {row.count(" | ") for row in rows}
    assert widths == {7}


def headings_of(text: str) -> list[list[str]]:
    """The headings of every table in a Markdown document."""
    lines = text.splitlines()
    rules = [number for number, line in enumerate(lines) if line.startswith("| ---")]
    return [[cell.strip() for cell in lines[number - 1].strip("|").split("|")] for number in rules]


def test_a_column_that_no_row_has_is_left_out(service: Service) -> None:
    alone = with_predictions(service, "alone", {"test": arrays(expert_0=20)}, kind="expert")
    text = service.get(f"/jobs/{alone}/report?format=markdown").text
    assert headings_of(text) == [["", "accuracy", "95 % interval, %", "NLL", "ECE"]]
    pair = fusion_job(service)
    figures, controls, experts = headings_of(service.get(f"/jobs/{pair}/report?format=markdown").text)
    of_model = ["", "accuracy", "95 % interval, %", "NLL", "ECE"]
    assert figures == [*of_model, "fused minus this, points", "95 % interval, points", "p"]
    assert controls == figures
    assert experts == ["expert", "network"]


def test_columns_of_differences_have_the_unit_in_their_headings(service: Service) -> None:
    metrics = {f"test/{name}_expert_{k}": 0.02 for name in ("contribution", "shapley") for k in range(2)}
    job_id = with_predictions(service, "pair", {"test": arrays(fused=10, expert_0=30, expert_1=50)}, metrics=metrics)
    text = service.get(f"/jobs/{job_id}/report?format=markdown").text
    assert headings_of(text)[2] == ["expert", "network", "contribution, points", "Shapley value, points"]


def test_the_picture_is_well_formed_and_names_every_model(service: Service) -> None:
    job_id = fusion_job(service, "<b>pair</b>")
    trained_control(service, job_id, "single_0", 4)
    answer = service.get(f"/jobs/{job_id}/report.svg")
    assert answer.headers["content-type"] == "image/svg+xml"
    root = ET.fromstring(answer.text)
    texts = {element.text for element in root.iter() if element.tag.endswith("text")}
    assert {"fused", "expert 0", "one network on all the data"} <= texts
    assert "<b>pair" not in answer.text


def test_a_job_that_has_not_succeeded_has_no_report_yet(service: Service) -> None:
    answer = service.get(f"/jobs/{service.submit(FUSION)}/report")
    assert answer.status_code == 404
    assert "is queued and has no report yet" in answer.json()["detail"]


def test_a_path_with_broken_outputs_is_absent_and_the_rest_is_reported(service: Service) -> None:
    content = arrays(fused=10, expert_0=30, expert_1=50)
    content["logits_expert_1"][3] = np.nan
    job_id = with_predictions(service, "pair", {"test": content})
    shown = report(service, job_id)
    assert [row["label"] for row in shown["figures"]][:2] == ["fused", "expert 0"]
    assert "outputs that are not finite for 1 of 200 images" in shown["absent"]["expert_1"]


@pytest.mark.parametrize(
    "content", ["", "[1]", '{"metrics": 3}', '{"metrics": {}, "predictions": {"test": {"file": 1}}}']
)
def test_a_damaged_result_is_no_error_of_the_service(service: Service, content: str) -> None:
    job_id = fusion_job(service)
    (service.settings.runs_dir / job_id / "result.json").write_text(content)
    for path in ("report", "report.svg", "predictions"):
        answer = service.get(f"/jobs/{job_id}/{path}")
        assert answer.status_code == 404, (path, answer.text)
        assert "damaged" in answer.json()["detail"] or "no predictions" in answer.json()["detail"]


def test_deleted_controls_are_named_in_the_notes(service: Service) -> None:
    job_id = fusion_job(service)
    trained_control(service, job_id, "single_0", 4)
    control = service.get(f"/jobs/{job_id}/controls").json()["items"][0]["job"]
    assert service.call("DELETE", f"/jobs/{control}").status_code == 200
    notes = " ".join(report(service, job_id)["notes"])
    assert "the best one may be another: one network on all the data: its job has been deleted" in notes


def test_a_report_says_all_that_makes_the_training(service: Service) -> None:
    job_id = fusion_job(service)
    loss = {"individual": {"type": "wta"}, "lambda_individual": 0.5}
    spec = FUSION | {"fusion": {"expert_dropout": 0.3}, "training": {"loss": loss, "gradients": "pcgrad"}}
    other = service.submit(spec)
    stages = [{"description": "epochs 1 to 2: experts frozen"}, {"description": "epochs 3 to 9: lambda 0.5"}]
    with transaction(service.app.state.engine) as session:
        stored = session.get(Job, other)
        job = session.get(Job, job_id)
        assert stored is not None
        assert job is not None
        job.spec, job.plan = stored.spec, {"stages": stages}
    training = report(service, job_id)["training"]
    assert training["individual_loss"] == "wta: cross-entropy of the expert with the smallest one; lambda 0.5"
    assert (training["gradients"], training["expert_dropout"]) == ("pcgrad", 0.3)
    text = service.get(f"/jobs/{job_id}/report?format=markdown").text
    assert "In stages:\n\n1. epochs 1 to 2: experts frozen\n2. epochs 3 to 9: lambda 0.5" in text
