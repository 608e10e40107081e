"""A job is stopped, its data change, and it is resumed: refused, with the file named, until the data are back."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.e2e.running import Running, expert


def write(file: Path, *, invert: bool = False) -> None:
    images = np.random.default_rng(3).integers(0, 255, (400, 8, 8), dtype=np.uint8)
    np.savez(file, images=255 - images if invert else images, labels=np.arange(400) % 4)


def test_inverted_pixels_are_refused_until_the_data_are_restored(up: Running) -> None:
    file = up.settings.roots[0] / "identity.npz"
    write(file)
    spec = expert(epochs=400) | {"dataset": {"name": "npz:identity.npz"}}
    job_id = up.submit(spec)
    up.wait_step(job_id, 3)
    up.api.post(f"/jobs/{job_id}/pause")
    up.wait(job_id, "paused")
    write(file, invert=True)
    up.api.post(f"/jobs/{job_id}/resume")
    failed = up.wait(job_id, "failed")
    assert failed["reason"] == "code_error"
    assert failed["message"].startswith("the data of npz:identity.npz has changed since this run began")
    explained = up.cli("explain", job_id).stdout
    assert "its data has changed since training began" in explained
    write(file)
    up.api.post(f"/jobs/{job_id}/retry")
    assert up.wait(job_id, "succeeded", limit_s=240)["attempt"] == 3
    certificate = up.api.get(f"/jobs/{job_id}/provenance")
    assert certificate["sentence"].endswith("although it was resumed from a checkpoint 1 time")
    assert certificate["data"]["dataset"] == "npz:identity.npz"
    parents = [row["parent"] for row in certificate["checkpoints"]]
    assert parents[1] == certificate["checkpoints"][0]["sha256"]
    assert certificate["sentence"] in up.cli("provenance", job_id).stdout.replace("\n", " ")
