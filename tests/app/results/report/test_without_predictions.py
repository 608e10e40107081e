"""Reports of jobs whose predictions are not stored: the figures of the result, and how to get intervals."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.app.api import Service
from tests.app.results.predictions.trained import with_predictions
from tests.app.results.report.test_report import arrays, fusion_job, headings_of, report

METRICS = {
    "test/accuracy_fused": 0.95,
    "test/accuracy_expert_1": 0.75,
    "test/accuracy_expert_0": 0.85,
    "test/accuracy_expert_0_before": 0.5,
    "test/accuracy_ensemble": 0.9,
    "test/accuracy_ensemble_logits": 0.9,
    "test/accuracy_oracle": 0.99,
    "test/nll": 0.2,
    "test/ece": 0.01,
}


def without_predictions(service: Service, predictions: dict[str, Any] | None = None, kind: str = "fusion") -> str:
    """A job with figures in its result, and this about predictions."""
    metrics = METRICS if kind == "fusion" else {"test/accuracy_expert_0": 0.9, "test/nll": 0.4}
    job_id = with_predictions(service, "old", {}, metrics=metrics, kind=kind)
    file = service.settings.runs_dir / job_id / "result.json"
    result = json.loads(file.read_text()) | {"predictions": predictions or {}}
    file.write_text(json.dumps(result))
    return job_id


def test_without_predictions_the_report_has_the_figures_of_the_result_and_says_how_to_get_intervals(
    service: Service,
) -> None:
    job_id = without_predictions(service, {"test": {"absent": "evaluation.store_predictions is false"}})
    content = report(service, job_id)
    figures = [(row["label"], row["model"]["accuracy"], row["model"]["low"]) for row in content["figures"]]
    assert figures == [
        ("fused", 0.95, None),
        ("expert 0", 0.85, None),
        ("expert 1", 0.75, None),
        ("expert 0 before", 0.5, None),
        ("ensemble, mean of logits", 0.9, None),
    ]
    assert [row["model"]["nll"] for row in content["figures"]] == [0.2, None, None, None, None]
    assert content["verdict"] == "Fused accuracy 95.0 %, without an interval"
    assert (content["oracle"], content["controls"], content["experts"][0]["before"]) == (0.99, [], 0.5)
    assert content["notes"] == [
        "There are no intervals and no comparison with controls, since the predictions on test images are not stored "
        "(evaluation.store_predictions is false): to get them, submit an evaluate job of its components with "
        "evaluation.store_predictions: true. It has no controls of its own: `mcn compare EVAL CONTROL` compares it "
        "with a control that stored its predictions."
    ]
    text = service.get(f"/jobs/{job_id}/report?format=markdown").text
    assert headings_of(text)[0] == ["", "accuracy", "NLL", "ECE"]
    assert "![Test accuracy](report.svg)" in text
    picture = service.get(f"/jobs/{job_id}/report.svg").text
    assert picture.count("<circle") == 5
    assert 'stroke-width="3"' not in picture


@pytest.mark.parametrize("kind", ["fusion", "expert"])
def test_a_job_of_an_earlier_version_has_a_report_without_intervals(service: Service, kind: str) -> None:
    content = report(service, without_predictions(service, kind=kind))
    [note] = content["notes"]
    assert "(it ended before this version, which stores them)" in note
    # An expert has no fusion module that an evaluate job could take.
    assert ("evaluate job" in note, "controls" in note) == (kind == "fusion", kind == "fusion")


def test_deleted_predictions_leave_the_figures_of_the_result(service: Service) -> None:
    job_id = fusion_job(service)
    (service.settings.runs_dir / job_id / "predictions" / "test.npz").unlink()
    content = report(service, job_id)
    assert [row["label"] for row in content["figures"]] == ["fused"]
    assert "they have been deleted from its run directory" in content["notes"][0]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off"])
def test_damaged_predictions_leave_the_figures_of_the_result(service: Service, content: bytes) -> None:
    job_id = fusion_job(service)
    (service.settings.runs_dir / job_id / "predictions" / "test.npz").write_bytes(content)
    shown = report(service, job_id)
    assert [(row["label"], row["model"]["not_scaled"]) for row in shown["figures"]] == [
        ("fused", "its predictions are damaged")
    ]
    assert "since the predictions on test images are damaged (test.npz cannot be read): to get" in shown["notes"][0]
    for path in ("report?format=markdown", "report.svg"):
        assert service.get(f"/jobs/{job_id}/{path}").status_code == 200


def test_damaged_validation_predictions_leave_all_but_the_temperature(service: Service) -> None:
    splits = {split: arrays(fused=10, expert_0=30) for split in ("test", "val")}
    job_id = with_predictions(service, "pair", splits, metrics={"test/accuracy_fused": 0.95})
    (service.settings.runs_dir / job_id / "predictions" / "val.npz").write_bytes(b"")
    fused = report(service, job_id)["figures"][0]["model"]
    assert fused["low"] is not None
    assert "are damaged: val.npz cannot be read" in fused["not_scaled"]


def test_a_result_with_figures_that_are_no_numbers_is_no_error_of_the_service(service: Service) -> None:
    job_id = without_predictions(service)
    file = service.settings.runs_dir / job_id / "result.json"
    file.write_text('{"metrics": {"test/accuracy_fused": "high", "test/accuracy_expert_0": NaN}}')
    answer = service.get(f"/jobs/{job_id}/report")
    assert (answer.status_code, "has no predictions" in answer.json()["detail"]) == (404, True)
