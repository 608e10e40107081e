"""A service that is backed up while it trains, and restored beside itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.fixtures import Undisturbed
from tests.e2e.running import Running, fusion

pytestmark = pytest.mark.slow


def test_a_restored_job_resumes_to_the_same_result_and_the_first_service_is_left_alone(
    up: Running, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    expected = undisturbed["fusion"]
    job_id = up.submit(fusion())
    up.wait_step(job_id, 5)
    backup = up.cli("backup", str(tmp_path / "backup"))
    assert backup.returncode == 0, backup.stderr
    assert up.job(job_id)["state"] == "running"

    restored = Running(tmp_path / "restored")
    done = restored.cli("restore", str(tmp_path / "backup"))
    assert done.returncode == 0, done.stderr
    assert "1 job will resume from the latest checkpoint" in done.stdout
    restored.start()
    try:
        assert restored.wait(job_id)["state"] == "succeeded"
        assert restored.proof(job_id) == expected
        first, second = restored.api.get(f"/jobs/{job_id}/attempts")["items"]
        assert (first["outcome"], second["outcome"]) == ("stopped", "succeeded")
        assert second["resumed_from_step"] > 0
    finally:
        restored.stop()
    assert up.wait(job_id)["state"] == "succeeded"
    assert up.proof(job_id) == expected
    assert len(up.api.get(f"/jobs/{job_id}/attempts")["items"]) == 1
