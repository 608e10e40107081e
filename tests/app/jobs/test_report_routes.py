"""The result of a job as its run directory has it."""

from __future__ import annotations

from app.models import State
from core.run.rundir import RunDir
from tests.app.api import Service


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


def test_the_links_of_a_job_lead_to_its_reports(service: Service) -> None:
    job_id = service.submit()
    links = service.get(f"/jobs/{job_id}").json()["links"]
    for name in ("explain", "ledger"):
        assert service.get(links[name]).status_code == 200
    assert links["result"] == f"/jobs/{job_id}/result"
