"""What the machines are doing."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from sqlalchemy import case, func
from sqlmodel import Session, col, select

from app.auth.principals import Viewer
from app.db import iso, now
from app.http.session import Reading
from app.models import WORKER_TIMEOUT, Attempt, Job, Lease, Reason, State, Worker

router = APIRouter()


@router.get("/cluster", tags=["cluster"])
def get_cluster(_asks: Viewer, session: Reading) -> dict[str, Any]:
    """Workers, their devices, what each runs, and how many jobs wait."""
    held = {(lease.host, lease.device): lease for lease in session.exec(select(Lease))}
    counts = dict(session.exec(select(Job.state, func.count()).group_by(col(Job.state))).all())
    workers = [
        {
            "host": worker.host,
            "seen_at": iso(worker.seen_at),
            "cpus": worker.cpus,
            "memory_gb": round(worker.memory_gb, 1),
            "alive": now() - worker.seen_at < WORKER_TIMEOUT,
            "devices": [
                {"device": device, "job": held[worker.host, device].job_id if (worker.host, device) in held else None}
                for device in worker.devices
            ],
        }
        for worker in session.exec(select(Worker).order_by(col(Worker.host)))
    ]
    return {
        "workers": workers,
        "queue_length": counts.get(State.queued.value, 0),
        "jobs": {state.value: counts.get(state.value, 0) for state in State},
        "slurm": _slurm(session),
    }


def _slurm(session: Session) -> dict[str, Any] | None:
    """What a worker saw of Slurm last, why jobs pend there, and how often each node's hardware failed."""
    seen = select(Worker).where(col(Worker.slurm).is_not(None)).order_by(col(Worker.seen_at).desc())
    worker = session.exec(seen).first()
    if worker is None or worker.slurm is None:
        return None
    here = (col(Attempt.job_id) == col(Job.id)) & (col(Attempt.number) == col(Job.attempt))
    pending = select(Job.id, Attempt.slurm_job_id, Job.message).join(Attempt, here)
    pending = pending.where(Job.state == State.starting, Job.executor == "slurm").order_by(Job.id).limit(200)
    return {
        **worker.slurm,
        "pending": [{"job": job, "slurm_job_id": slurm, "why": why} for job, slurm, why in session.exec(pending)],
        "nodes": _nodes(session),
    }


def _nodes(session: Session) -> list[dict[str, Any]]:
    """The record of each node; an attempt on several counts for each."""
    fault = case((col(Attempt.reason) == Reason.hardware_fault, 1))
    query = select(Attempt.host, func.count(), func.count(fault), func.max(case((fault == 1, Attempt.ended_at))))
    query = query.where(Attempt.executor == "slurm", Attempt.host != "").group_by(Attempt.host)
    found: dict[str, dict[str, Any]] = {}
    for hosts, count, faults, last in session.exec(query):
        for host in hosts.split(","):
            row = found.setdefault(host, {"node": host, "attempts": 0, "hardware_faults": 0, "last_fault_at": None})
            row["attempts"] += count
            row["hardware_faults"] += faults
            row["last_fault_at"] = max(filter(None, (row["last_fault_at"], iso(last))), default=None)
    return [found[host] for host in sorted(found)]
