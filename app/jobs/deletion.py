"""Deletes jobs that have ended, or only their checkpoints: first for users, in one transaction, then from the disk.

The transaction also notes whose files are to be removed. They are removed right after the commit; what a killed process
leaves behind is removed by `remove_leftovers`, which each worker calls now and then.
"""

from __future__ import annotations

import logging
import os
import shutil
from contextlib import suppress
from functools import partial
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session

from app.db import after_commit, reading, transaction
from app.http.errors import Conflict
from app.jobs import deletion_queries, queries
from app.jobs.disk_space import disk_usage
from app.models import TERMINAL_STATES, Job, State
from app.settings import Settings
from core.run.rundir import RunDir

log = logging.getLogger(__name__)
# Leftovers that are removed at a time.
MAX_LEFTOVERS = 1_000
# Where checkpoints are moved to before they are removed: nothing looks for checkpoints there.
_TRASH = ".deleted-checkpoints"


def delete_job(session: Session, settings: Settings, job: Job) -> None:
    """Deletes a locked job with everything that belongs to it.

    Raises Conflict for a job that has not ended, or whose components an unfinished one needs.
    """
    _require_ended(job)
    users = [other.id for other in queries.dependents(session, job.id, unfinished=True)]
    if users:
        need, they_have = ("needs", "it has") if len(users) == 1 else ("need", "they have")
        raise Conflict(f"{', '.join(users[:5])} still {need} its components: delete it after {they_have} ended")
    queries.delete_job(session, job)
    _remove_files_after_commit(session, settings, job.id)


def delete_checkpoints(session: Session, settings: Settings, job: Job, size_bytes: int) -> None:
    """Deletes the checkpoints of a locked job, of this size; results and components stay.

    Raises Conflict if it has not ended.
    """
    _require_ended(job)
    job.checkpoints_deleted_after = job.attempt
    if job.size_bytes is not None:
        job.size_bytes = max(0, job.size_bytes - size_bytes)
    _remove_files_after_commit(session, settings, job.id)


def starts_from_beginning(job: Job) -> bool:
    """Whether the next attempt of a job finds no checkpoint because those of the latest one were deleted."""
    return job.checkpoints_deleted_after is not None and job.checkpoints_deleted_after == job.attempt


def size_of_job(settings: Settings, job_id: str) -> int:
    """The bytes that deleting a job frees."""
    return sum(disk_usage(folder) for folder in _folders(settings, job_id))


def size_of_checkpoints(settings: Settings, job_id: str) -> int:
    """The bytes that deleting the checkpoints of a job frees."""
    return disk_usage(RunDir(settings.runs_dir / job_id).checkpoints)


def remove_leftovers(engine: Engine, settings: Settings) -> None:
    """Removes files whose deletion was committed by a process that ended before it had removed them."""
    with reading(engine) as session:
        job_ids = deletion_queries.list_file_deletions(session, MAX_LEFTOVERS)
    for job_id in job_ids:
        _try_to_remove_files(engine, settings, job_id)


def _require_ended(job: Job) -> None:
    if job.state not in TERMINAL_STATES:
        raise Conflict(f"{job.id} is {State(job.state).value}, so it cannot be deleted: cancel it first")


def _remove_files_after_commit(session: Session, settings: Settings, job_id: str) -> None:
    deletion_queries.add_file_deletion(session, job_id)
    engine = session.get_bind()
    assert isinstance(engine, Engine)
    after_commit(session, partial(_try_to_remove_files, engine, settings, job_id))


def _try_to_remove_files(engine: Engine, settings: Settings, job_id: str) -> None:
    try:
        _remove_files(engine, settings, job_id)
    except (SQLAlchemyError, OSError) as error:  # the deletion itself is done
        log.warning("files of %s will be removed later: %s", job_id, error)


def _remove_files(engine: Engine, settings: Settings, job_id: str) -> None:
    """Removes the files of a job that no longer exists, or the checkpoints that were deleted of one that does."""
    run = RunDir(settings.runs_dir / job_id)
    with transaction(engine) as session:
        job = queries.locked_job(session, job_id)
        # One that has been retried meanwhile resumes from its checkpoints: they stay.
        if job is not None and job.state in TERMINAL_STATES and starts_from_beginning(job):
            with suppress(FileNotFoundError):
                os.rename(run.checkpoints, run.path / f"{_TRASH}-{job.attempt}")
    folders = _folders(settings, job_id) if job is None else list(run.path.glob(f"{_TRASH}-*"))
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    left = [folder for folder in folders if folder.exists()]
    if left:
        log.warning("%s cannot be removed: check who owns the files in it", left[0])
        return
    with transaction(engine) as session:
        deletion_queries.forget_file_deletion(session, job_id)


def _folders(settings: Settings, job_id: str) -> list[Path]:
    return [settings.runs_dir / job_id, *settings.slurm_dir.glob(f"{job_id}-a*")]
