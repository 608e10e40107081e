"""What the page of a job says about its controls, and what it says without them."""

from __future__ import annotations

import html
import re
from unittest.mock import Mock

import pytest

from app.models import State
from app.results.predictions.stored import StoredSplit
from tests.app.api import FUSION, Service
from tests.app.results.predictions.trained import succeed, with_predictions
from tests.app.results.report.test_report import add_control, arrays, report, trained_control

ONE_OF_SEVERAL = "Fused minus best expert, one control of several"
WHOLE = FUSION | {"dataset": {"name": "digits"}, "name": "pair", "controls": True}


def measured_job(service: Service) -> str:
    metrics = {"test/accuracy_fused": 0.95, "test/accuracy_expert_0": 0.85, "test/accuracy_expert_1": 0.75}
    metrics["test/accuracy_oracle"] = 0.99
    return with_predictions(service, "pair", {"test": arrays(fused=10, expert_0=30, expert_1=50)}, metrics=metrics)


def evaluation_of(service: Service, job_id: str) -> str:
    answer = service.get(f"/ui/-/jobs/{job_id}/evaluation")
    assert answer.status_code == 200, answer.text
    return html.unescape(answer.text)


def test_the_best_expert_is_said_to_be_one_control_of_several_and_the_report_is_linked(service: Service) -> None:
    job_id = measured_job(service)
    shown = evaluation_of(service, job_id)
    assert f"<dt>{ONE_OF_SEVERAL}</dt><dd>+10.0 points</dd>" in shown
    assert f'<a href="/ui/jobs/{job_id}/report">see the report</a>' in shown
    assert "<dt>Oracle minus fused</dt><dd>4.0 points</dd>" in shown


def test_a_verdict_that_is_known_stands_in_its_place_with_interval_and_p(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = measured_job(service)
    trained_control(service, job_id, "single_0", 4)
    verdict = report(service, job_id)["verdict"]
    # No prediction is read for the page of the job.
    monkeypatch.setattr(StoredSplit, "_read", Mock(side_effect=AssertionError("predictions are read")))
    shown = evaluation_of(service, job_id)
    assert "<dt>Fused minus best control</dt><dd>\N{MINUS SIGN}3.0 points</dd>" in shown
    assert f"<p>{verdict}. <a" in shown
    assert "95 % interval" in verdict
    assert ONE_OF_SEVERAL not in shown


def test_a_verdict_is_not_shown_once_a_control_has_changed(service: Service) -> None:
    job_id = measured_job(service)
    other = service.submit(FUSION)
    add_control(service, job_id, "frozen", other)
    report(service, job_id)
    assert ONE_OF_SEVERAL not in evaluation_of(service, job_id)
    succeed(service, other)
    assert ONE_OF_SEVERAL in evaluation_of(service, job_id)


def test_controls_are_named_and_linked_with_their_states_and_reasons(service: Service) -> None:
    job_id = service.submit(WHOLE)
    rows = {row["role"]: row for row in service.get(f"/jobs/{job_id}/controls").json()["items"]}
    service.transition(rows["matched"]["job"], State.cancelled)
    shown = evaluation_of(service, job_id)
    for role, state in (("single_0", "queued"), ("single_1", "queued"), ("matched", "cancelled")):
        row = rows[role]
        assert f'<a href="/ui/jobs/{row["job"]}"><bdi>{row["name"]}</bdi></a> {state}' in shown
    assert re.search(r"<dt>The same fusion, experts frozen</dt><dd>.*experts that start untrained would", shown)
    assert "<h3>Controls</h3>" in service.get(f"/ui/jobs/{job_id}").text
    assert "<h3>Controls</h3>" not in evaluation_of(service, service.submit(FUSION))
