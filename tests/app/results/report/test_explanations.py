"""What the page and the Markdown of a report explain, and how they join what is alike."""

from __future__ import annotations

import json

from app.results.report.explanations import group_absences
from tests.app.api import Service
from tests.app.results.predictions.trained import with_predictions
from tests.app.results.report.test_report import add_control, arrays, fusion_job, report

WORTH = {"contribution_expert_0": 0.1, "accuracy_without_expert_0": 0.7, "shapley_expert_0": 0.0004}


def test_the_reason_for_many_experts_is_given_once(service: Service) -> None:
    reasons = {f"shapley_expert_{k}": "too many experts" for k in range(12)} | {"nll": "no reason"}
    assert group_absences(reasons) == [
        ("shapley_expert_0 to shapley_expert_11", "too many experts"),
        ("nll", "no reason"),
    ]
    assert group_absences({"a_0": "x", "a_1": "x", "a_3": "y"}) == [("a_0, a_1", "x"), ("a_3", "y")]
    assert group_absences({"a_0": "x", "a_1": "x", "a_3": "x"}) == [("a_0, a_1, a_3", "x")]
    job_id = fusion_job(service)
    file = service.settings.runs_dir / job_id / "result.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"absent": reasons}))
    for path in (f"/jobs/{job_id}/report?format=markdown", f"/ui/jobs/{job_id}/report"):
        assert service.get(path).text.count("too many experts") == 1
    assert len(report(service, job_id)["absent"]) == 13


def test_the_columns_of_what_an_expert_is_worth_are_explained_in_both_formats(service: Service) -> None:
    metrics = {f"test/{name}": value for name, value in WORTH.items()}
    job_id = with_predictions(service, "pair", {"test": arrays(fused=10, expert_0=30, expert_1=50)}, metrics=metrics)
    for path in (f"/jobs/{job_id}/report?format=markdown", f"/ui/jobs/{job_id}/report"):
        text = service.get(path).text
        for column in ("Contribution", "Fused without it", "Shapley value"):
            assert f"{column}: " in text, path
        assert "Before: " not in text


def test_values_of_the_page_read_as_words_and_numbers(service: Service) -> None:
    metrics = {f"test/{name}": value for name, value in WORTH.items()}
    job_id = with_predictions(service, "pair", {"test": arrays(fused=10, expert_0=30, expert_1=50)}, metrics=metrics)
    html = service.get(f"/ui/jobs/{job_id}/report").text
    assert "deterministic no" in html
    assert "Bold: the interval excludes 0." in html
    assert '<td class="num">0.0</td>' in html
    assert "deterministic no" in service.get(f"/jobs/{job_id}/report?format=markdown").text


def test_the_reason_why_there_can_be_no_network_on_all_the_data_is_not_repeated_in_the_notes(service: Service) -> None:
    job_id = fusion_job(service)
    for position, role in enumerate(("single_0", "single_1", "matched")):
        add_control(service, job_id, role, None, "the experts saw shard 0 of 2", position=position)
    notes = report(service, job_id)["notes"]
    assert not any("shard 0 of 2" in note for note in notes)
    expected = "has: one network on all the data, one network of as many parameters."
    assert any(note.endswith(expected) for note in notes), notes
