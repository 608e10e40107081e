"""Finds the training processes of a service by the claims in its run directories."""

from __future__ import annotations

from pathlib import Path

import psutil

from core.run.protocol import Claim
from worker.executors.processes import ProcessHandle


def training_processes(data_dir: Path, job_id: str = "**") -> list[psutil.Process]:
    """The processes that run attempts of the service with this data folder, or of one of its jobs."""
    found = []
    for file in data_dir.glob(f"{job_id}/attempt-*/process.json"):
        claim = Claim.from_file(file)
        if claim is not None and ProcessHandle(claim.pid, claim.started_at).is_alive():
            found.append(psutil.Process(claim.pid))
    return found
