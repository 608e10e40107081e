"""Sweeps on a real cluster: one array, its limit held, a failed point retried alone."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from collections.abc import Container, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from app.settings import Settings
from tests.e2e.running import Running, once
from tests.slurm.cluster import Cluster
from tests.slurm.service import lab_service, on_slurm, quick, slow_fusion, slurm_of
from worker.context import make_context
from worker.executors.slurm import queue_commands as commands
from worker.reconcile import reconcile, start_all

POINTS = 12
MANY = 400
AT_ONCE = 3


@pytest.fixture(scope="module")
def lab(slurm_cluster: Cluster) -> Iterator[Running]:
    yield from lab_service(slurm_cluster)


def arrays(cluster: Cluster) -> set[str]:
    """The arrays that were ever submitted, by name and id."""
    rows = cluster.run("sacct", "-X", "-n", "-P", "--format=JobID,JobName").splitlines()
    return {row.partition("_")[0] for row in rows if "|swp_" in row}


def test_all_points_are_one_array_and_one_is_retried_alone(lab: Running, slurm: Cluster) -> None:
    base = on_slurm(quick()) | {"max_attempts": 1}
    grid = {"training.seed": list(range(POINTS // 2)), "training.components.experts.lr": [0.001, 0.005]}
    before = arrays(slurm)
    sweep = lab.api.post("/sweeps", {"name": "twelve", "base": base, "grid": grid, "max_parallel": AT_ONCE})
    jobs = {job["id"]: job for job in lab.api.get("/jobs", sweep=sweep["id"], limit=200)["items"]}
    most, killed = 0, ""

    def ended() -> bool:
        nonlocal most, killed
        counts = lab.api.get(f"/sweeps/{sweep['id']}")["counts"]
        most = max(most, counts["running"])
        if not killed and counts["succeeded"] >= 2:
            killed = kill_one(lab, jobs)
        return bool(counts["succeeded"] + counts["failed"] == POINTS)

    once(ended, "the end of the sweep", 300)
    assert 1 <= most <= AT_ONCE
    assert killed
    shown = lab.api.get(f"/sweeps/{sweep['id']}")
    assert (shown["counts"]["succeeded"], shown["counts"]["failed"]) == (POINTS - 1, 1)
    assert lab.job(killed)["state"] == "failed"
    assert len(arrays(slurm) - before) == 1
    lab.api.post(f"/sweeps/{sweep['id']}/retry")
    assert lab.wait(killed)["state"] == "succeeded"
    attempts = [lab.job(job["id"])["attempt"] for job in lab.api.get("/jobs", sweep=sweep["id"], limit=200)["items"]]
    assert sorted(attempts) == [1] * (POINTS - 1) + [2]
    board = lab.api.get(f"/sweeps/{sweep['id']}")["leaderboard"]
    assert [row["n"] for row in board] == [POINTS // 2] * 2
    assert board[0]["mean"] >= board[1]["mean"]


def test_a_point_that_is_cancelled_before_it_starts_stays_cancelled(lab: Running, slurm: Cluster) -> None:
    slurm.run("sbatch", "--partition=high", "--nodes=2", "--exclusive", "--wrap=sleep 600", "--output=/dev/null")
    sweep = lab.api.post("/sweeps", {"base": on_slurm(quick()), "grid": {"training.seed": [101, 102, 103]}})
    first, second, third = [point["job"] for point in lab.api.get(f"/sweeps/{sweep['id']}/points")["items"]]

    def message(job_id: str) -> str:
        return str(lab.job(job_id)["message"])

    once(lambda: all("pending in Slurm" in message(job_id) for job_id in (first, second, third)), "the array")
    slurm.run("scancel", lab.api.get(f"/jobs/{third}/attempts")["items"][0]["slurm_job_id"])
    assert lab.wait(third, limit_s=15)["state"] == "cancelled"
    assert "with scancel" in message(third)
    lab.api.post(f"/jobs/{second}/cancel")
    assert lab.wait(second, limit_s=15)["state"] == "cancelled"
    assert lab.job(first)["state"] == "starting"
    lab.api.post(f"/sweeps/{sweep['id']}/cancel")
    assert lab.wait(first, limit_s=15)["state"] == "cancelled"
    assert [lab.job(job_id)["attempt"] for job_id in (first, second, third)] == [1, 1, 1]


def test_early_stopping_ends_jobs_in_slurm(lab: Running, slurm: Cluster) -> None:
    grid = {"training.components.experts.lr": [0.005, 1e-8, 2e-8], "training.components.head.lr": [1e-8]}
    early = {"metric": "val/accuracy_expert_0", "min_epochs": 2, "reduction_factor": 2}
    body = {"name": "asha", "base": on_slurm(slow_fusion()), "grid": grid, "max_parallel": 2, "early_stopping": early}
    sweep = lab.api.post("/sweeps", body)

    def ended() -> bool:
        counts = lab.api.get(f"/sweeps/{sweep['id']}")["counts"]
        return bool(counts["succeeded"] + counts["failed"] + counts["cancelled"] == 3)

    once(ended, "the end of the sweep", 360)
    shown = lab.api.get(f"/sweeps/{sweep['id']}")
    assert shown["counts"]["failed"] == 0
    assert shown["counts"]["cancelled"] == shown["stopped_early"] >= 1
    assert shown["leaderboard"][0]["values"]["training.components.experts.lr"] == 0.005
    for job in lab.api.get("/jobs", sweep=sweep["id"], state="cancelled")["items"]:
        assert "not among the best" in job["message"]
        assert job["progress"]["fraction"] < 1
    once(lambda: not slurm.jobs(), "the end of their processes", 120)


def kill_one(lab: Running, jobs: Container[str]) -> str:
    """Kills a process that has just started; returns its job, or an empty string if there is none.

    Once it has a checkpoint, its loss would not count towards `max_attempts`.
    """
    for claim in lab.settings.runs_dir.glob("job_*/attempt-1/process.json"):
        job_id = claim.parents[1].name
        has_checkpoint = any((claim.parents[1] / "checkpoints").glob("step-*"))
        if job_id in jobs and not has_checkpoint and not claim.with_name("outcome.json").exists():
            with suppress(ProcessLookupError):
                os.kill(int(json.loads(claim.read_text())["pid"]), signal.SIGKILL)
                return job_id
    return ""


def test_hundreds_of_points_are_a_few_submissions_and_a_round_over_them_two_commands(
    slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CONF", str(slurm.conf))
    slurm.run("sbatch", "--partition=high", "--nodes=2", "--exclusive", "--wrap=sleep 600", "--output=/dev/null")
    settings = Settings(data_dir=tmp_path / "data")
    context = make_context(settings)
    slurm_of(context).cluster.poll()
    ran: list[str] = []
    run = commands.run

    def counted(words: list[str]) -> str:
        ran.append(words[0])
        return run(words)

    with TestClient(create_app(settings)) as http:
        token = (settings.data_dir / "admin-token").read_text().strip()
        http.headers["Authorization"] = f"Bearer {token}"
        body = {"name": "many", "base": on_slurm(quick()), "grid": {"training.seed": list(range(MANY))}}
        began = time.monotonic()
        sweep = http.post("/sweeps", json=body).json()["id"]
        print(f"{MANY} points accepted in {time.monotonic() - began:.2f} s")
        before = arrays(slurm)
        began = time.monotonic()
        start_all(context)
        print(f"and submitted in {time.monotonic() - began:.2f} s")
        once(lambda: http.get(f"/sweeps/{sweep}").json()["counts"]["starting"] == MANY, "the submission")
        once(lambda: len(arrays(slurm) - before) > 0, "the accounting", 120)
        assert len(arrays(slurm) - before) <= math.ceil(MANY / slurm_of(context).cluster.max_array_size)
        reconcile(context)
        monkeypatch.setattr(commands, "run", counted)
        began = time.monotonic()
        reconcile(context)
        print(f"a round over {MANY} took {time.monotonic() - began:.2f} s: {ran}")
        assert ran in (["squeue"], ["squeue", "sacct"])
        http.post(f"/sweeps/{sweep}/cancel")

        def gone() -> bool:
            reconcile(context)
            return bool(http.get(f"/sweeps/{sweep}").json()["counts"]["cancelled"] == MANY)

        once(gone, "the end of all", 240)
        # The number of commands does not grow with the number of jobs that end.
        assert ran.count("scontrol") <= ran.count("squeue")
    context.engine.dispose()
