"""The result of a job as its run directory has it."""

from __future__ import annotations

import pytest

from app.models import State
from core.run.rundir import RunDir
from tests.app.api import FUSION, Service


def test_a_job_that_has_failed_is_not_said_to_have_a_result_later(service: Service) -> None:
    job_id = service.submit()
    service.transition(job_id, State.starting, State.failed)
    detail = service.get(f"/jobs/{job_id}/result").json()["detail"]
    assert detail == f"{job_id} is failed and has no result: only jobs that succeed have one"


def test_a_result_is_sent_as_it_is_once_there_is_one(service: Service) -> None:
    job_id = service.submit()
    answer = service.get(f"/jobs/{job_id}/result")
    assert answer.status_code == 404
    assert answer.json()["detail"] == f"{job_id} is queued and has no result yet: it is written when the job succeeds"
    file = RunDir(service.settings.runs_dir / job_id).result
    file.parent.mkdir(parents=True)
    file.write_text('{"metrics": {"test/accuracy_fused": 0.5},\n "per_class": {}}')
    service.transition(job_id, State.starting, State.succeeded)
    answer = service.get(f"/jobs/{job_id}/result")
    assert (answer.text, answer.headers["content-type"]) == (file.read_text(), "application/json")


@pytest.mark.parametrize(
    "content", ["", '{"metrics": {"test/accur', '{"state": "succeeded"}', "[1]", "[" * 100_000, "\0"]
)
def test_a_result_that_cannot_be_read_is_a_problem_and_never_half_a_document(service: Service, content: str) -> None:
    job_id = service.submit()
    file = RunDir(service.settings.runs_dir / job_id).result
    file.parent.mkdir(parents=True)
    file.write_text(content)
    service.transition(job_id, State.starting, State.succeeded)
    answer = service.get(f"/jobs/{job_id}/result")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert f"the result.json of {job_id} is damaged and cannot be read" in answer.json()["detail"]
    assert answer.json()["detail"].endswith("To measure the model again, submit the job again")


def test_a_damaged_result_of_a_fusion_job_leads_to_an_evaluate_job(service: Service) -> None:
    job_id = service.submit(FUSION)
    file = RunDir(service.settings.runs_dir / job_id).result
    file.parent.mkdir(parents=True)
    file.write_text("{")
    assert "submit an evaluate job of its components" in service.get(f"/jobs/{job_id}/result").json()["detail"]


def test_the_links_of_a_job_lead_to_its_reports(service: Service) -> None:
    job_id = service.submit()
    links = service.get(f"/jobs/{job_id}").json()["links"]
    for name in ("explain", "ledger"):
        assert service.get(links[name]).status_code == 200
    assert links["result"] == f"/jobs/{job_id}/result"


def test_the_result_of_a_job_whose_folder_was_moved_is_told_as_that(service: Service) -> None:
    job_id = service.submit()
    service.transition(job_id, State.starting, State.running, State.succeeded)
    for part in ("result", "report", "predictions?split=test"):
        answer = service.get(f"/jobs/{job_id}/{part}")
        assert answer.status_code == 404
        assert f"the result.json of {job_id} is not where the job left it" in answer.json()["detail"]
