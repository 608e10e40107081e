"""What a worker works with."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.settings import Settings
from worker.context import make_context


@pytest.mark.processes  # It asks which devices and schedulers there are.
def test_jobs_belong_to_the_worker_of_the_name_that_the_settings_give(tmp_path: Path) -> None:
    context = make_context(Settings(data_dir=tmp_path / "data", devices="cpu", worker_name="node-1"))
    assert context.host == "node-1"
    assert context.executors["local"]._host == "node-1"  # type: ignore[attr-defined]
