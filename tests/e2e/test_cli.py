"""`mcn` as a user runs it: processes, pipes and terminals."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx

from core.components import load_component
from tests.e2e.running import ROOT, Running, expert, fusion

SPEC = "kind: expert\nexpert: {arch: convnet_small}\n"


def test_a_job_from_submission_to_deletion(up: Running, tmp_path: Path) -> None:
    followed = up.cli("submit", "-", "--follow", "--set", "training.epochs=1", stdin=SPEC)
    assert followed.returncode == 0, followed.stderr
    job_id = followed.stdout.split()[0]
    assert "test/accuracy_expert_0" in up.cli("show", job_id).stdout
    assert "epoch 1/1" in up.cli("logs", job_id).stdout
    assert "expert_0" in up.cli("components", job_id).stdout
    downloaded = up.cli("download", job_id, "expert_0", "-o", str(tmp_path))
    assert (downloaded.returncode, downloaded.stderr) == (0, "")
    assert downloaded.stdout.startswith(str(tmp_path / "expert_0_best.pth"))
    assert load_component(tmp_path / "expert_0_best.pth").role == "expert"
    assert up.cli("delete", job_id).stdout.startswith(f"{job_id}  deleted")
    result = up.cli("show", job_id)
    assert (result.returncode, job_id in result.stderr, "Traceback" in result.stderr) == (2, True, False)


def test_a_created_token_works(up: Running) -> None:
    token = up.cli("token", "create", "laptop", "--role", "viewer").stdout.strip()
    response = httpx.get(f"{up.settings.api_url}/me", headers={"Authorization": f"Bearer {token}"})
    assert response.json()["role"] == "viewer"


def test_doctor_finds_the_running_service(up: Running) -> None:
    assert "ok  service" in up.cli("doctor").stdout


def test_terminals_of_any_width_show_ids_whole_and_names_as_they_are(up: Running) -> None:
    name = "x [/b] :x: [red]"
    job_id = up.submit(expert(epochs=1) | {"name": name})
    watched = up.in_terminal("watch", job_id, columns=200)
    assert (watched.returncode, "Traceback" in watched.stdout) == (0, False), watched.stdout
    assert [word in watched.stdout for word in (job_id, "succeeded", name)] == [True] * 3, watched.stdout
    listed = up.in_terminal("jobs", columns=80)
    assert (listed.returncode, job_id in listed.stdout, "succeeded" in listed.stdout) == (0, True, True), listed.stdout


def test_watching_survives_a_restart_of_the_api(up: Running) -> None:
    # Longer than any machine takes to start the command: it must see the job run.
    job_id = up.submit(fusion(epochs=5000))
    up.wait(job_id, "running")
    command = [sys.executable, "-m", "app.cli.main", "watch", job_id]
    with subprocess.Popen(command, env=up._environment, cwd=ROOT, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        assert "running" in watching.stdout.readline()
        up.kill("api")
        up.api.get_patiently(f"/jobs/{job_id}")
        up.api.post(f"/jobs/{job_id}/cancel")
        assert "cancelled" in watching.stdout.read()
    assert watching.returncode == 1


def test_an_unreachable_service_is_one_sentence(tmp_path: Path) -> None:
    result = Running(tmp_path / "data").cli("jobs")
    assert (result.returncode, result.stdout) == (1, "")
    assert "start it with `mcn up`" in result.stderr
