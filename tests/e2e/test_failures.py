"""Real failures: a full disk, too little memory, a diverging loss, missing data."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.running import Running, expert, fusion, once

WILD = {"lr": 1e9, "clip_norm": 0}
FAILURES = {
    "loss_not_finite": (
        fusion(components={"experts": WILD, "fusion": WILD, "head": WILD}),
        "loss_not_finite",
        "first non-finite values",
    ),
    "missing data": (
        expert() | {"dataset": {"name": "cifar100"}},
        "code_error",
        "Put cifar-100-python.tar.gz",
    ),
    # The fusion module alone is a terabyte.
    "too large a model": (
        fusion(epochs=1) | {"num_experts": 64, "input_dim": 65_536, "fusion": {"type": "concatenation"}},
        "out_of_memory",
        "training.batch_size",
    ),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_each_failure_has_its_reason_and_one_sentence(up: Running, failure: str) -> None:
    spec, reason, message = FAILURES[failure]
    job = up.wait(up.submit(spec), "failed")
    assert job["reason"] == reason
    assert message in job["message"]
    assert "Traceback" not in job["message"]
    assert job["attempt"] == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Running]:
    """A service whose run directories are on a file system of eight megabytes, of which two percent must be free."""
    service = Running(tmp_path / "data", MCN_MIN_FREE_GB="0.00016")
    runs = service.settings.runs_dir
    runs.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(runs)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a small file system cannot be mounted here")
    try:
        service.start()
        yield service
        service.stop()
    finally:
        subprocess.run(["umount", "--lazy", str(runs)], check=True)


def test_a_full_disk_fails_the_job_and_a_retry_succeeds_once_there_is_space(small_disk: Running) -> None:
    filler = small_disk.settings.runs_dir / "filler"
    filler.write_bytes(bytes(8_000_000))
    job_id = small_disk.submit(fusion(epochs=3))
    job = small_disk.wait(job_id, "failed")
    assert (job["reason"], job["attempt"]) == ("no_space", 1), job["message"]
    assert "no space left" in job["message"]
    # Without any space no job is started, and none fails.
    fill(filler)
    jobs = [small_disk.submit(expert(epochs=1)) for _ in range(3)]

    def is_explained() -> bool:
        shown = small_disk.api.get(f"/jobs/{jobs[0]}/explain")
        return bool(shown["sentence"].startswith("It waits for disk space on"))

    once(is_explained, "the worker's report that the disk is full")
    for waiting in jobs:
        job = small_disk.job(waiting)
        assert (job["state"], job["attempt"]) == ("queued", 0)
    filler.unlink()
    for waiting in jobs:
        assert small_disk.wait(waiting)["state"] == "succeeded"
    small_disk.api.post(f"/jobs/{job_id}/retry")
    job = small_disk.wait(job_id)
    assert job["state"] == "succeeded", job["message"]


def fill(file: Path) -> None:
    """Writes to a file until the disk is full."""
    with contextlib.suppress(OSError), file.open("ab", buffering=0) as out:
        while out.write(bytes(4096)) > 0:
            pass
