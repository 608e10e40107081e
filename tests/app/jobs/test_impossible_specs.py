"""A job that cannot start is refused when it is submitted, as its plan refuses it."""

from __future__ import annotations

import pytest

from app.db import transaction
from app.jobs.drafts import Draft, insert_jobs, job_columns
from app.models import Job, State
from core.spec import parse_stored
from tests.app.api import Service
from tests.core.impossible_specs import ALL_DATA, IMPOSSIBLE

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("path", ["/jobs", "/jobs?dry_run=true"])
def test_it_is_refused_beside_its_field_with_the_sentence_of_the_plan(service: Service, path: str) -> None:
    for spec, field, message in IMPOSSIBLE:
        answer = service.post(path, spec)
        assert answer.status_code == 422, (answer.text, spec)
        [error] = answer.json()["errors"]
        assert (".".join(map(str, error["loc"])), error["msg"]) == (field, message)


def test_the_points_of_a_sweep_are_refused_too(service: Service) -> None:
    sweep = {"name": "s", "base": ALL_DATA, "grid": {"dataset.split.holdout": [0.5, 0.9999]}}
    answer = service.post("/sweeps?dry_run=true", sweep)
    assert answer.status_code == 422
    assert "shard 0 (regime full) has 0 images" in answer.text


def test_data_of_unknown_size_are_accepted(service: Service) -> None:
    (service.settings.roots[0] / "photos").mkdir()
    split = {"regime": "class_shards", "num_shards": 1000}
    spec = ALL_DATA | {"dataset": {"name": "imagefolder:photos", "split": split}}
    assert service.post("/jobs?dry_run=true", spec).status_code == 200


def test_a_stored_job_is_shown_and_retried(service: Service) -> None:
    """An earlier version accepted it."""
    job_id = "job_" + "0" * 26
    job = Job(id=job_id, **job_columns(parse_stored(IMPOSSIBLE[0][0])), owner="alice", state=State.queued)
    with transaction(service.app.state.engine) as session:
        insert_jobs(session, [Draft(job, [], ())])
    service.transition(job_id, State.cancelled)
    assert service.get(f"/jobs/{job_id}").status_code == 200
    answer = service.post(f"/jobs/{job_id}/retry", {"resources": {"cpus": 1}})
    assert answer.status_code == 202, answer.text
