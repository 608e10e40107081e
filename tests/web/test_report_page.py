from __future__ import annotations

import re

import numpy as np

from app.db import transaction
from app.models import Job
from tests.app.api import FUSION, Service
from tests.app.results.predictions.trained import logits_of, with_predictions
from tests.app.results.report.test_report import arrays, fusion_job, trained_control
from tests.app.results.report.test_without_predictions import without_predictions


def test_the_page_says_whether_fusion_pays_and_links_the_controls(service: Service) -> None:
    job_id = fusion_job(service, "<b>pair</b>")
    trained_control(service, job_id, "single_0", 4)
    answer = service.get(f"/ui/jobs/{job_id}/report")
    assert answer.status_code == 200
    assert "best control (one network on all the data): -3.0 points" in answer.text
    assert "<b>pair" not in answer.text
    control = service.get(f"/jobs/{job_id}/controls").json()["items"][0]["job"]
    assert f'href="/ui/jobs/{control}"' in answer.text
    assert f'href="/ui/jobs/{job_id}/report"' in service.get(f"/ui/jobs/{job_id}").text


def test_a_job_without_a_result_has_no_report_page(service: Service) -> None:
    answer = service.get(f"/ui/jobs/{service.submit(FUSION)}/report")
    assert answer.status_code == 404
    assert "has no report yet" in answer.text


def headings_of(html: str) -> list[str]:
    return re.findall(r'<th scope="col"[^>]*>([^<]*)</th>', html)


def test_a_column_that_no_row_has_is_left_out(service: Service) -> None:
    alone = with_predictions(service, "alone", {"test": arrays(expert_0=20)}, kind="expert")
    html = service.get(f"/ui/jobs/{alone}/report").text
    assert headings_of(html) == ["Path", "Accuracy", "95 % interval", "NLL", "ECE"]
    assert "\N{EN DASH}</td>" not in html
    pair = service.get(f"/ui/jobs/{fusion_job(service)}/report").text
    assert headings_of(pair)[-2:] == ["Expert", "Network"]
    assert "Fused minus this, points" in headings_of(pair)


def test_a_job_without_predictions_has_a_page_without_intervals(service: Service) -> None:
    job_id = without_predictions(service)
    html = service.get(f"/ui/jobs/{job_id}/report").text
    assert headings_of(html)[:4] == ["Path", "Accuracy", "NLL", "ECE"]
    assert "There are no intervals and no comparison with controls" in html
    assert "Intervals are by the bootstrap" not in html
    assert "Report, without intervals" in service.get(f"/ui/jobs/{job_id}").text


def test_the_page_has_what_the_markdown_has(service: Service) -> None:
    val = {"labels": np.arange(600) % 3}
    wrong = (val["labels"] + (np.arange(600) % 9 == 0)) % 3
    val |= {f"logits_{path}": logits_of(wrong) for path in ("fused", "expert_1")}
    test = arrays(fused=10, expert_0=30, expert_1=50)
    test["logits_expert_0"][3] = np.nan
    job_id = with_predictions(service, "pair", {"test": test, "val": val})
    source = service.submit()
    with transaction(service.app.state.engine) as session:
        job = session.get(Job, job_id)
        assert job is not None
        experts = [{"from": {"job": source, "component": "expert_0"}, "arch": "convnet_small"}, job.spec["experts"][1]]
        job.spec = job.spec | {"experts": experts}
    html = service.get(f"/ui/jobs/{job_id}/report").text
    assert {"NLL scaled", "ECE scaled", "Started from"} <= set(headings_of(html))
    markdown = service.get(f"/jobs/{job_id}/report?format=markdown").text
    assert all(heading in markdown for heading in ("NLL scaled", "ECE scaled", "Started from", "## Not measured"))
    assert ">Not measured</h2>" in html
    assert "<li><code>expert_0</code>: " in html
    assert "outputs that are not finite for 1 of 200 images" in html
    assert f'<td><a href="/ui/jobs/{source}">' in html
    assert "<bdi>untrained</bdi>" in html
