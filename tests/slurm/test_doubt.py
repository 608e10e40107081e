"""Workers that die around sbatch, and controllers that forget or do not answer: every job runs, and none twice."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from app.settings import Settings
from core.run.protocol import Claim
from core.run.rundir import RunDir
from tests.e2e.running import ROOT, Running, fusion, once
from tests.parts import wait_until
from tests.slurm.cluster import Cluster
from tests.slurm.dying import POINTS
from tests.slurm.service import lab_service, on_slurm, quick, slow_fusion, slurm_of
from worker.context import WorkerContext, make_context
from worker.reconcile import reconcile

LIMIT_S = 360.0


@pytest.fixture(scope="module")
def lab(slurm_cluster: Cluster) -> Iterator[Running]:
    yield from lab_service(slurm_cluster)


def attempts_that_trained(runs: Path, job_id: str) -> list[str]:
    """The attempts of a job in which training began."""
    began = []
    for log in sorted((runs / job_id).glob("attempt-*/events.jsonl")):
        kinds = [json.loads(line) for line in log.read_text().splitlines()]
        began += [log.parent.name for event in kinds if event["kind"] == "config"]
    return began


@pytest.mark.parametrize("times", [1, pytest.param(5, marks=pytest.mark.soak)])
def test_a_worker_that_dies_around_sbatch_leaves_one_run(
    times: int, slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CONF", str(slurm.conf))
    with ExitStack() as stack:
        services: list[tuple[TestClient, WorkerContext, str]] = []
        for number, point in itertools.product(range(times), POINTS):
            settings = Settings(data_dir=tmp_path / f"{number}-{point.replace(' ', '-')}")
            http = stack.enter_context(TestClient(create_app(settings)))
            token = (settings.data_dir / "admin-token").read_text().strip()
            http.headers["Authorization"] = f"Bearer {token}"
            job_id = http.post("/jobs", json=on_slurm(quick())).json()["id"]
            environment = slurm.env | {"MCN_DATA_DIR": str(settings.data_dir)}
            died = subprocess.run([sys.executable, "-m", "tests.slurm.dying", point], env=environment, cwd=ROOT)
            assert died.returncode == -9, point
            context = make_context(settings)
            stack.callback(context.engine.dispose)
            slurm_of(context).cluster.poll()
            services.append((http, context, job_id))

        def ended() -> bool:
            states = []
            for http, context, job_id in services:
                reconcile(context)
                states.append(http.get(f"/jobs/{job_id}").json()["state"])
            return all(state == "succeeded" for state in states)

        wait_until(ended, "the end of all jobs", LIMIT_S * times)
        for _, context, job_id in services:
            assert len(attempts_that_trained(context.settings.runs_dir, job_id)) == 1, context.settings.data_dir.name
        assert slurm.jobs() == []
        names = slurm.run("sacct", "-X", "-n", "-P", "--format=JobName,State").splitlines()
        for http, _, job_id in services:
            # Those that never reached Slurm were submitted once more; no attempt was submitted twice.
            count = len(http.get(f"/jobs/{job_id}/attempts").json()["items"])
            assert sum(name.startswith(job_id) for name in names) <= count


def test_a_controller_killed_after_a_submission_loses_no_job(lab: Running, slurm: Cluster) -> None:
    reference = lab.submit(slow_fusion())
    assert lab.wait(reference)["state"] == "succeeded"
    job_id = lab.submit(on_slurm(slow_fusion()))
    once(lambda: bool(lab.api.get(f"/jobs/{job_id}/attempts")["items"][0:1]), "the submission")
    once(lambda: lab.api.get(f"/jobs/{job_id}/attempts")["items"][0]["slurm_job_id"] is not None, "its id")
    slurm.kill_controller()
    slurm.start_controller()
    job = lab.wait(job_id, limit_s=120)
    assert job["state"] == "succeeded", job["message"]
    assert lab.proof(job_id) == lab.proof(reference)
    attempts = lab.api.get(f"/jobs/{job_id}/attempts")["items"]
    for before, after in itertools.pairwise(attempts):
        assert before["ended_at"] <= after["started_at"]
    once(lambda: not slurm.jobs(), "the end of everything in Slurm", 240)


def test_an_unreachable_controller_changes_no_job(lab: Running, slurm: Cluster) -> None:
    running, pending = lab.submit(on_slurm(fusion(epochs=5000), cpus=2)), lab.submit(on_slurm(quick(), cpus=2, nodes=2))
    lab.wait_step(running, 5)
    once(lambda: lab.job(pending)["state"] == "starting", "the submission")
    states = {job_id: lab.job(job_id)["state"] for job_id in (running, pending)}
    # What it would compute meanwhile proves nothing.
    claim = Claim.from_file(RunDir(lab.settings.runs_dir / running).attempt(1).claim)
    assert claim
    os.kill(claim.pid, signal.SIGSTOP)
    slurm.stop_controller()
    stopped = os.times().elapsed
    once(lambda: os.times().elapsed - stopped > 30, "thirty seconds", 40)
    assert {job_id: lab.job(job_id)["state"] for job_id in (running, pending)} == states
    slurm.start_controller()
    os.kill(claim.pid, signal.SIGCONT)
    for job_id in (running, pending):
        lab.api.post(f"/jobs/{job_id}/cancel")
        assert lab.wait(job_id, limit_s=60)["state"] == "cancelled"
        assert len(lab.api.get(f"/jobs/{job_id}/attempts")["items"]) == 1


def test_a_job_ends_rightly_while_the_accounting_stands_still(lab: Running, slurm: Cluster) -> None:
    succeeds, is_cancelled = lab.submit(on_slurm(slow_fusion())), lab.submit(on_slurm(fusion(epochs=5000)))
    for job_id in (succeeds, is_cancelled):
        lab.wait_step(job_id, 1)
    slurm.freeze_accounting()
    lab.api.post(f"/jobs/{is_cancelled}/cancel")
    assert lab.wait(is_cancelled, limit_s=120)["state"] == "cancelled"
    job = lab.wait(succeeds, limit_s=240)
    assert job["state"] == "succeeded", job["message"]
    # One that begins meanwhile, too.
    begins = lab.submit(on_slurm(quick()))
    assert lab.wait(begins, limit_s=240)["state"] == "succeeded"
    slurm.thaw_accounting()
    # What slurmctld reports to it late changes nothing.
    once(lambda: "COMPLETED" in slurm.run("sacct", "-X", "-n", "-P", f"--name={begins}-a1", "--format=State"), "news")
    for job_id in (succeeds, is_cancelled, begins):
        assert len(lab.api.get(f"/jobs/{job_id}/attempts")["items"]) == 1
    assert [lab.job(job_id)["state"] for job_id in (succeeds, begins)] == ["succeeded", "succeeded"]
