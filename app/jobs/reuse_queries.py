"""SQL about jobs whose results other jobs may reuse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Row
from sqlalchemy import select as sql_select
from sqlmodel import Session, col, select

from app.models import Job, State, Sweep, Worker, offline_before

# Digests in one statement.
_BATCH = 500
# Jobs that tell which nodes have a device.
_LATEST = 1_000


def jobs_with_digests(session: Session, digests: Sequence[str]) -> Iterator[Row[Any]]:
    """Jobs that have succeeded or may still succeed, except those that early stopping may end.

    Rows of digest, id, state, executor, the keys of data, software and device, the number of attempts,
    `resources.slurm` and `evaluation.store_predictions`.
    """
    unsuccessful = (State.failed, State.cancelled, State.cancelling)
    certain = (col(Job.state) == State.succeeded) | col(Sweep.early_stopping).is_(None)
    keys = (col(Job.data_sha256), col(Job.software_key), col(Job.device_key))
    stored = col(Job.spec)["evaluation"]["store_predictions"]
    slurm = col(Job.spec)["resources"]["slurm"]
    began = (col(Job.attempt), slurm)
    columns = (col(Job.digest), col(Job.id), col(Job.state), col(Job.executor), *keys, *began, stored)
    query = sql_select(*columns).outerjoin(Sweep, col(Sweep.id) == col(Job.sweep))
    query = query.where(certain, col(Job.state).not_in(unsuccessful))
    for start in range(0, len(digests), _BATCH):
        yield from session.execute(query.where(col(Job.digest).in_(digests[start : start + _BATCH])))


def slurm_options_of_device(session: Session, device_key: str) -> Iterator[dict[str, Any]]:
    """`resources.slurm` of the latest Slurm jobs that this device computed."""
    query = sql_select(col(Job.spec)["resources"]["slurm"])
    query = query.where(col(Job.executor) == "slurm", col(Job.device_key) == device_key)
    for (slurm,) in session.execute(query.order_by(col(Job.id).desc()).limit(_LATEST)):
        yield slurm or {}


def device_keys(session: Session) -> list[dict[str, list[str]]]:
    """The devices of the workers that are alive; of all that there were if none is."""
    workers = session.exec(select(Worker).where(col(Worker.device_keys).is_not(None))).all()
    limit = offline_before(session)
    alive = [worker for worker in workers if worker.seen_at > limit]
    return [worker.device_keys for worker in alive or workers if worker.device_keys is not None]
