"""Measures run directories of which no size is stored: those of an earlier version, and those of a restored backup."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine

from app.db import reading, transaction
from app.jobs.disk_space import disk_usage
from app.jobs.usage_queries import set_size, unmeasured_jobs

# Measured in one round, which takes a second or so.
MAX_JOBS = 100


class SizeBacklog:
    """The jobs without a stored size. Once there are none left, none come back while this worker runs."""

    def __init__(self) -> None:
        self._is_done = False

    def measure_some(self, engine: Engine, runs_dir: Path) -> int:
        """Measures some of them; returns how many."""
        if self._is_done:
            return 0
        with reading(engine) as session:
            job_ids = unmeasured_jobs(session, MAX_JOBS)
        self._is_done = not job_ids
        sizes = {job_id: disk_usage(runs_dir / job_id) for job_id in job_ids}
        if sizes:
            with transaction(engine) as session:
                for job_id, size in sizes.items():
                    set_size(session, job_id, size)
        return len(sizes)
