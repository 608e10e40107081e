"""Retention by a real worker: a job whose checkpoints it deleted is trained from the beginning when it is retried."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from sqlalchemy import update

from app.db import database_time, make_engine, transaction
from app.models import Retention
from core.run.durable import read_manifest
from core.run.rundir import RunDir
from tests.e2e.running import Running, expert_of_many_steps, once
from tests.e2e.test_identity import write

TAG = "retention"


@pytest.mark.slow
def test_the_worker_deletes_checkpoints_and_the_job_can_be_retried(up: Running) -> None:
    file = up.settings.roots[0] / "retention.npz"
    write(file)
    job_id = up.submit(expert_of_many_steps() | {"tags": [TAG], "dataset": {"name": "npz:retention.npz"}})
    run = RunDir(up.settings.runs_dir / job_id)
    once(lambda: any(run.checkpoints.glob("step-*/manifest.json")), "the first checkpoint")
    once(lambda: any(run.components.glob("*.json")), "the first component")
    up.api.post(f"/jobs/{job_id}/cancel")
    assert up.wait(job_id)["state"] == "cancelled"
    rule = {"name": "x", "states": ["cancelled"], "tags": [TAG], "older_than_days": 0, "delete": "checkpoints"}
    up.api.put("/retention", json.dumps({"rules": [rule]}).encode())
    engine = make_engine(up.settings.sqlalchemy_url)
    with transaction(engine) as session:
        session.execute(update(Retention).values(next_run_at=database_time(session) - timedelta(seconds=1)))
    engine.dispose()
    once(lambda: bool(up.api.get("/retention")["runs"]), "the run of the worker")
    up.api.put("/retention", b'{"rules": []}')
    once(lambda: not run.checkpoints.exists(), "the removal of the checkpoints")
    assert any(run.components.iterdir())
    earlier = {manifest.stem: read_manifest(manifest) for manifest in run.components.glob("*.json")}
    write(file, invert=True)
    up.api.post(f"/jobs/{job_id}/retry")
    assert up.wait(job_id)["state"] == "succeeded"
    attempts = up.api.get(f"/jobs/{job_id}/attempts")["items"]
    assert [attempt["resumed_from_step"] for attempt in attempts] == [0, 0]
    # Nothing of the data before is in the result.
    certificate = up.api.get(f"/jobs/{job_id}/provenance")
    assert certificate["bit_exact"] is True
    [component] = certificate["components"]
    assert component["identity"] == certificate["identity"] != earlier["expert_0"]["identity"]
    assert component["content_sha256"] != earlier["expert_0"]["content_sha256"]
