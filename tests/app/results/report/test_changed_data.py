"""A control that was measured on other data than its job."""

from __future__ import annotations

from tests.app.api import Service
from tests.app.results.predictions.trained import set_data
from tests.app.results.report.test_report import fusion_job, report, trained_control


def test_a_control_whose_data_have_changed_is_absent_with_the_reason(service: Service) -> None:
    job_id = fusion_job(service)
    trained_control(service, job_id, "single_0", 20)
    [control] = service.get("/jobs?kind=expert").json()["items"]
    set_data(service, job_id, "0" * 64)
    set_data(service, control["id"], "1" * 64)
    [single] = [row for row in report(service, job_id)["controls"] if row["role"] == "single_0"]
    assert "digits has changed between them" in single["absent"]
