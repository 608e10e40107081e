"""A job's whole life against the running service, with real training."""

from __future__ import annotations

import base64
import hashlib
import signal
import statistics
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.cli.download import download
from core.components import load_component
from core.model.modules import build_module
from tests.e2e.fixtures import Undisturbed
from tests.e2e.running import ROOT, Running, expert, fusion, once
from tests.e2e.test_failures import FAILURES


def test_submitted_followed_measured_and_downloaded(up: Running, tmp_path: Path) -> None:
    job_id = up.submit(fusion(epochs=3))
    events = list(up.api.events(job_id))
    assert [event["id"] for event in events] == sorted({event["id"] for event in events})
    assert [event["data"]["state"] for event in events if event["type"] == "state"] == [
        "queued", "starting", "running", "succeeded",
    ]  # fmt: skip
    assert {"progress", "metrics", "component"} <= {event["type"] for event in events}
    # From the middle on, a stream is the same.
    middle = events[len(events) // 2]["id"]
    assert list(up.api.events(job_id, after=middle)) == [event for event in events if event["id"] > middle]
    job = up.job(job_id)
    assert job["progress"]["fraction"] == 1.0
    assert job["plan"]["input_dim"] == 16
    series = up.api.get(f"/jobs/{job_id}/metrics/series", key=["train/loss_total", "val/accuracy_fused"])["series"]
    assert [len(one["steps"]) for one in series] >= [3, 3]
    assert series[0]["steps"] == sorted(set(series[0]["steps"]))
    csv = up.api._http.get(f"/jobs/{job_id}/metrics.csv").text.splitlines()
    assert csv[0] == "key,step,value,time"
    assert len(csv) > 20
    for name in ("expert_0", "expert_1", "fusion", "head", "complete"):
        for ending in ("pth", "safetensors"):
            file = download(up.api, f"/jobs/{job_id}/components/{name}", tmp_path, format=ending)
            build_module(load_component(file))
    names = sorted(path.name for path in tmp_path.glob("*.pth"))
    assert names == [
        "complete_fusion_best.pth", "expert_0_best.pth", "expert_1_best.pth", "fusion_module_best.pth",
        "global_head_best.pth",
    ]  # fmt: skip
    [attempt] = up.api.get(f"/jobs/{job_id}/attempts")["items"]
    assert (attempt["outcome"], attempt["resumed_from_step"], attempt["executor"]) == ("succeeded", 0, "local")
    log = up.api._http.get(f"/jobs/{job_id}/logs?tail=3").text
    assert len(log.splitlines()) == 3
    assert up.api.delete(f"/jobs/{job_id}")["bytes_freed"] > 100_000
    assert not (up.settings.runs_dir / job_id).exists()


def test_a_download_goes_on_where_it_broke_off(up: Running, undisturbed: Undisturbed, tmp_path: Path) -> None:
    assert undisturbed["fusion"].digests
    path = f"/jobs/{undisturbed.jobs['fusion']}/components/complete"
    http = up.api._http
    whole = http.get(path)
    assert whole.headers["accept-ranges"] == "bytes"
    digest = base64.b64encode(hashlib.sha256(whole.content).digest()).decode()
    assert whole.headers["repr-digest"] == f"sha-256=:{digest}:"
    assert http.head(path).headers["content-length"] == str(len(whole.content))
    assert http.get(path, headers={"If-None-Match": whole.headers["etag"]}).status_code == 304
    part = http.get(path, headers={"Range": "bytes=1000-"})
    assert (part.status_code, part.content) == (206, whole.content[1000:])
    changed = http.get(path, headers={"Range": "bytes=1000-", "If-Range": '"another"'})
    assert (changed.status_code, changed.content) == (200, whole.content)
    assert http.get(path, headers={"Range": "bytes=99999999-"}).status_code == 416
    etag = whole.headers["etag"].strip('"')
    broken = tmp_path / f"complete_fusion_best.pth.{etag[:16]}.part"
    broken.write_bytes(whole.content[:5000])
    asked: list[tuple[int, int]] = []
    file = download(up.api, path, tmp_path, format="pth", on_bytes=lambda done, total: asked.append((done, total)))
    assert file.read_bytes() == whole.content
    assert asked[0][0] > 5000
    broken.write_bytes(b"x" * 5000)
    with pytest.raises(Exception, match="SHA-256 differs"):
        download(up.api, path, tmp_path, format="pth")
    assert download(up.api, path, tmp_path, format="pth").read_bytes() == whole.content


def test_paused_and_resumed_it_ends_with_the_same_bits(up: Running, undisturbed: Undisturbed) -> None:
    job_id = up.submit(fusion())
    up.wait_step(job_id, 3)
    up.api.post(f"/jobs/{job_id}/pause")
    up.wait(job_id, "paused")
    once(lambda: not up.training(), "the end of the process")
    assert up.api.get("/cluster")["workers"][0]["devices"][0]["job"] is None
    # Somebody else's job has the device in the meantime.
    other = up.submit(expert())
    assert up.wait(other)["state"] == "succeeded"
    up.api.post(f"/jobs/{job_id}/resume")
    assert up.wait(job_id)["attempt"] == 2
    assert up.proof(job_id) == undisturbed["fusion"]
    second = up.api.get(f"/jobs/{job_id}/attempts")["items"][1]
    assert second["resumed_from_step"] >= 3


def test_progress_and_the_time_left_come_true(up: Running, undisturbed: Undisturbed) -> None:
    steps = undisturbed["fusion"].steps
    # Nobody foretells what else this machine will have to do: one of three runs comes true.
    for last in (False, False, True):
        job_id = up.submit(fusion())
        assert up.wait(job_id)["state"] == "succeeded"
        try:
            return come_true(up, job_id, steps[-1])
        except AssertionError:
            if last:
                raise


def come_true(up: Running, job_id: str, steps: int) -> None:
    """Holds what a job reported as it went to what happened."""
    pages: list[dict[str, Any]] = [{"next_cursor": None}]
    while len(pages) == 1 or pages[-1]["next_cursor"]:
        cursor = pages[-1]["next_cursor"]
        pages.append(up.api.get(f"/jobs/{job_id}/events", limit=200, cursor=cursor))
    events = [event for page in pages[1:] for event in page["items"] if event["type"] == "progress"]
    at = [datetime.fromisoformat(event["time"]).timestamp() for event in events]
    said = [event["data"] for event in events]
    done = [report["step"] for report in said]
    assert done == sorted(done)
    assert (done[-1], said[-1]["steps"], said[-1]["eta_s"]) == (steps, steps, 0.0)
    # The end as it was foretold in the second half, against the end as it came.
    whole = at[-1] - at[0]
    half = range(len(said) // 2, len(said))
    wrong = [abs(at[k] + said[k]["eta_s"] - at[-1]) / whole for k in half]
    assert len(wrong) > 10
    assert statistics.median(wrong) < 0.2
    assert max(wrong[-5:]) < 0.2
    # Evaluations are between the steps, so training alone is faster than the whole.
    fastest = 32 * (done[-1] - done[0]) / whole
    assert 0.8 * fastest < statistics.median([report["images_per_s"] for report in said]) < 20 * fastest


def test_cancelled_it_ends_within_ten_seconds_and_leaves_no_process(up: Running) -> None:
    job_id = up.submit(fusion(epochs=5000))
    up.wait_step(job_id, 3)
    began = time.monotonic()
    up.api.post(f"/jobs/{job_id}/cancel")
    assert up.wait(job_id)["state"] == "cancelled"
    assert time.monotonic() - began < 10
    assert not up.training()
    assert "expert_0" in up.digests(job_id)
    stubborn = up.submit(fusion(epochs=5000))
    up.wait(stubborn, "running")
    [process] = up.training()
    process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    up.api.post(f"/jobs/{stubborn}/cancel")
    assert up.wait(stubborn)["state"] == "cancelled"
    assert time.monotonic() - began < 10
    assert not up.training()


def test_components_that_do_not_fit_are_refused_with_both_numbers(up: Running) -> None:
    wide = up.submit(expert() | {"expert": {"arch": "convnet_small", "feature_dim": 24}})
    joint = up.submit(fusion(epochs=1))
    spec = fusion(epochs=1) | {
        "experts": [{"from": {"job": wide, "component": "expert_0"}}] * 2,
        "fusion": {"from": {"job": joint, "component": "fusion"}},
    }
    # Before either has ended nobody can know.
    early = up.submit(spec)
    job = up.wait(early, "failed")
    assert job["reason"] == "invalid_component"
    assert "[16, 16]" in job["message"]
    assert "[24, 24]" in job["message"]
    with pytest.raises(Exception, match="dimension 24, the fusion module takes 16"):
        up.submit(spec)


def test_failure_travels_and_a_retry_mends_it(up: Running) -> None:
    bad = up.submit(FAILURES["loss_not_finite"][0])
    waits = up.submit(fusion(epochs=1) | {"experts": [{"from": {"job": bad, "component": "expert_0"}}] * 2})
    assert up.job(waits)["waits_for"] == [bad]
    last = up.submit(fusion(epochs=1) | {"experts": [{"from": {"job": waits, "component": "expert_1"}}] * 2})
    for job_id in (waits, last):
        job = up.wait(job_id, "failed")
        assert job["reason"] == "dependency_failed"
    assert bad in up.job(waits)["message"]
    with pytest.raises(Exception, match="retry that first"):
        up.api.post(f"/jobs/{waits}/retry")


def test_the_most_important_job_goes_first(up: Running) -> None:
    holder = up.submit(fusion(epochs=5000))
    up.wait(holder, "running")
    low, high = up.submit(expert(epochs=1)), up.submit(expert(epochs=1) | {"priority": 5})
    up.api.post(f"/jobs/{holder}/cancel")
    up.wait(low)
    assert up.job(high)["finished_at"] <= up.job(low)["started_at"]


def test_the_command_line_does_all_of_it(up: Running, tmp_path: Path) -> None:
    done = up.cli(
        "submit", "-", "--follow", "--set", "training.epochs=1", stdin="kind: expert\nexpert: {arch: convnet_small}\n"
    )
    assert done.returncode == 0, done.stderr
    job_id = done.stdout.split()[0]
    assert job_id in up.cli("jobs").stdout
    assert "test/accuracy_expert_0" in up.cli("show", job_id).stdout
    assert "epoch 1/1" in up.cli("logs", job_id).stdout
    assert "expert_0" in up.cli("components", job_id).stdout
    done = up.cli("download", job_id, "expert_0", "-o", str(tmp_path))
    assert (done.returncode, (tmp_path / "expert_0_best.pth").exists()) == (0, True)
    assert load_component(tmp_path / "expert_0_best.pth").role == "expert"
    assert up.cli("delete", job_id).stdout.startswith(f"{job_id}  freed")
    token = up.cli("token", "create", "laptop", "--role", "viewer").stdout.strip()
    assert (
        httpx.get(f"{up.settings.api_url}/me", headers={"Authorization": f"Bearer {token}"}).json()["role"] == "viewer"
    )
    for words, code, says in [
        (["show", job_id], 2, "there is no job"),
        (["submit", str(tmp_path / "none.yaml")], 2, "cannot be read"),
        (["submit", "-"], 2, "must be an object"),
        (["retry", job_id], 2, "there is no job"),
        (["train", "--fusion-type", "sum"], 2, "fusion.type"),
        (["token", "create", "x", "--role", "king"], 2, "role"),
    ]:
        done = up.cli(*words)
        assert (done.returncode, says in done.stderr, "Traceback" in done.stderr) == (code, True, False), done
    assert "ok  service" in up.cli("doctor").stdout
    done = up.cli("submit", "-", "--dry-run", stdin="kind: expert\nexpert: {arch: convnet_small}\n")
    assert '"waits_for": []' in done.stdout


def test_names_are_printed_as_they_are_and_ids_whole(up: Running, tmp_path: Path) -> None:
    job_id = up.submit(expert(epochs=1) | {"name": "x [/b] :x: [red]"})
    up.wait(job_id)
    for words in (("jobs",), ("show", job_id), ("watch", job_id)):
        for columns in ("80", "200"):
            shown = subprocess.run(
                [
                    "script",
                    "-qec",
                    f"stty cols {columns}; {sys.executable} -m app.cli.main {' '.join(words)}",
                    "/dev/null",
                ],
                # A width in the environment would win over the terminal's.
                env=up._environment | {"COLUMNS": columns},
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
                cwd=ROOT,
            )
            assert (shown.returncode, "Traceback" in shown.stdout) == (0, False), shown.stdout
            assert job_id in shown.stdout, shown.stdout
            assert "succeeded" in shown.stdout
            if columns == "200":
                assert "x [/b] :x: [red]" in shown.stdout


def test_watching_outlives_a_restart_of_the_api(up: Running) -> None:
    job_id = up.submit(fusion(epochs=30))
    up.wait(job_id, "running")
    command = [sys.executable, "-m", "app.cli.main", "watch", job_id]
    with subprocess.Popen(command, env=up._environment, cwd=ROOT, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        watching.stdout.readline()
        up.kill("api")
        assert "succeeded" in watching.stdout.read()
    assert watching.returncode == 0


def test_the_command_line_says_when_nothing_answers(tmp_path: Path) -> None:
    away = Running(tmp_path / "data")
    done = away.cli("jobs")
    assert (done.returncode, "start it with `mcn up`" in done.stderr) == (1, True)
