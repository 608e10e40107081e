"""The life of jobs in a running service, with real training."""

from __future__ import annotations

import base64
import hashlib
import signal
import statistics
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from app.cli.download import download
from core.components import load_component
from core.model.modules import build_module
from tests.e2e.fixtures import Undisturbed
from tests.e2e.running import Running, expert, fusion, once
from tests.e2e.test_failures import FAILURES


def test_a_job_can_be_followed_measured_downloaded_and_deleted(up: Running, tmp_path: Path) -> None:
    job_id = up.submit(fusion(epochs=3))
    events = list(up.api.events(job_id))
    assert [event["id"] for event in events] == sorted({event["id"] for event in events})
    assert [event["data"]["state"] for event in events if event["type"] == "state"] == [
        "queued", "starting", "running", "succeeded",
    ]  # fmt: skip
    assert {"progress", "metrics", "component"} <= {event["type"] for event in events}
    # A stream from the middle has the rest of the same events.
    middle = events[len(events) // 2]["id"]
    assert list(up.api.events(job_id, after=middle)) == [event for event in events if event["id"] > middle]
    job = up.job(job_id)
    assert job["progress"]["fraction"] == 1.0
    assert job["plan"]["input_dim"] == 16
    series = up.api.get(f"/jobs/{job_id}/metrics/series", key=["train/loss_total", "val/accuracy_fused"])["series"]
    assert [len(entry["steps"]) for entry in series] >= [3, 3]
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


def test_an_interrupted_download_is_resumed(up: Running, undisturbed: Undisturbed, tmp_path: Path) -> None:
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
    outside = http.get(path, headers={"Range": "bytes=99999999-"})
    assert (outside.status_code, outside.json()["type"]) == (416, "range-outside-file")
    assert outside.headers["content-range"] == f"bytes */{len(whole.content)}"
    etag = whole.headers["etag"].strip('"')
    broken = tmp_path / f"complete_fusion_best.pth.{etag[:16]}.part"
    broken.write_bytes(whole.content[:5000])
    progress: list[tuple[int, int]] = []
    file = download(up.api, path, tmp_path, format="pth", on_bytes=lambda *at: progress.append(at))
    assert file.read_bytes() == whole.content
    assert progress[0] == (5000, len(whole.content))
    broken.write_bytes(b"x" * 5000)
    with pytest.raises(Exception, match="SHA-256 differs"):
        download(up.api, path, tmp_path, format="pth")
    assert download(up.api, path, tmp_path, format="pth").read_bytes() == whole.content


def test_a_paused_and_resumed_job_ends_with_the_same_bits(up: Running, undisturbed: Undisturbed) -> None:
    job_id = up.submit(fusion())
    up.wait_step(job_id, 3)
    up.api.post(f"/jobs/{job_id}/pause")
    up.wait(job_id, "paused")
    once(lambda: not up.training(), "end of the training process")
    assert up.api.get("/cluster")["workers"][0]["devices"][0]["job"] is None
    # Another job uses the device meanwhile.
    other = up.submit(expert(epochs=1))
    assert up.wait(other)["state"] == "succeeded"
    up.api.post(f"/jobs/{job_id}/resume")
    assert up.wait(job_id)["attempt"] == 2
    assert up.proof(job_id) == undisturbed["fusion"]
    second = up.api.get(f"/jobs/{job_id}/attempts")["items"][1]
    assert second["resumed_from_step"] >= 3


def test_the_reported_time_left_comes_true(up: Running, undisturbed: Undisturbed) -> None:
    steps = undisturbed["fusion"].steps
    # Other processes on this machine may interfere: one of three runs has to be right.
    for last in (False, False, True):
        job_id = up.submit(fusion())
        assert up.wait(job_id)["state"] == "succeeded"
        try:
            return check_progress(up, job_id, steps[-1])
        except AssertionError:
            if last:
                raise


def check_progress(up: Running, job_id: str, steps: int) -> None:
    """Compares the progress that a job reported with what happened."""
    pages: list[dict[str, Any]] = [{"next_cursor": None}]
    while len(pages) == 1 or pages[-1]["next_cursor"]:
        cursor = pages[-1]["next_cursor"]
        pages.append(up.api.get(f"/jobs/{job_id}/events", limit=200, cursor=cursor))
    events = [event for page in pages[1:] for event in page["items"] if event["type"] == "progress"]
    times = [datetime.fromisoformat(event["time"]).timestamp() for event in events]
    reports = [event["data"] for event in events]
    steps_done = [report["step"] for report in reports]
    assert steps_done == sorted(steps_done)
    assert (steps_done[-1], reports[-1]["steps"], reports[-1]["eta_s"]) == (steps, steps, 0.0)
    # The predicted end in the second half of the run, compared with the real end.
    duration = times[-1] - times[0]
    second_half = range(len(reports) // 2, len(reports))
    errors = [abs(times[k] + reports[k]["eta_s"] - times[-1]) / duration for k in second_half]
    assert len(errors) > 10
    assert statistics.median(errors) < 0.2
    assert max(errors[-5:]) < 0.2
    # The rate of training alone is above the rate of the whole run, which evaluates between the steps.
    whole_rate = 32 * (steps_done[-1] - steps_done[0]) / duration
    assert 0.8 * whole_rate < statistics.median([report["images_per_s"] for report in reports]) < 20 * whole_rate


def test_a_cancelled_job_ends_within_ten_seconds_and_leaves_no_process(up: Running) -> None:
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
    # Whether they fit is not known before they have ended.
    early = up.submit(spec)
    job = up.wait(early, "failed")
    assert job["reason"] == "invalid_component"
    assert "[16, 16]" in job["message"]
    assert "[24, 24]" in job["message"]
    with pytest.raises(Exception, match="expects feature dimension 16; this expert has 24"):
        up.submit(spec)


def test_a_failed_dependency_fails_the_jobs_that_wait_for_it(up: Running) -> None:
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


def test_the_job_with_the_highest_priority_starts_first(up: Running) -> None:
    holder = up.submit(fusion(epochs=5000))
    up.wait(holder, "running")
    low, high = up.submit(expert(epochs=1)), up.submit(expert(epochs=1) | {"priority": 5})
    up.api.post(f"/jobs/{holder}/cancel")
    up.wait(low)
    assert up.job(high)["finished_at"] <= up.job(low)["started_at"]
