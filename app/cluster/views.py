"""The cluster as the API and the dashboard show it."""

from __future__ import annotations

from sqlmodel import Session

from app.cluster import queries
from app.cluster.schemas import ClusterView, DeviceView, DiskView, NodeRecord, PendingJob, SlurmView, WorkerView
from app.db import iso
from app.jobs.disk_space import GB
from app.models import State, Worker, offline_before


def cluster_view(session: Session) -> ClusterView:
    """Workers, their devices and jobs, the length of the queue, and the state of Slurm."""
    counts = queries.count_jobs(session)
    return ClusterView(
        workers=_workers(session),
        queue_length=counts.get(State.queued.value, 0),
        jobs={state.value: counts.get(state.value, 0) for state in State},
        slurm=_slurm(session),
    )


def _workers(session: Session) -> list[WorkerView]:
    jobs = queries.jobs_by_device(session)
    limit = offline_before(session)
    return [
        WorkerView(
            host=worker.host,
            seen_at=iso(worker.seen_at) or "",
            cpus=worker.cpus,
            memory_gb=round(worker.memory_gb, 1),
            alive=worker.seen_at > limit,
            disk=_disk(worker),
            devices=[DeviceView(device=device, job=jobs.get((worker.host, device))) for device in worker.devices],
        )
        for worker in queries.list_workers(session)
    ]


def _disk(worker: Worker) -> DiskView | None:
    """Workers of earlier versions do not report it."""
    if worker.disk is None:
        return None
    sizes = {name: round(worker.disk[f"{name}_bytes"] / GB, 1) for name in ("free", "total", "min_free", "resume_at")}
    return DiskView(
        **{f"{name}_gb": size for name, size in sizes.items()},
        starts_paused=worker.disk["starts_paused"],
        writable=worker.disk.get("writable", True),
    )


def _slurm(session: Session) -> SlurmView | None:
    worker = queries.latest_slurm_worker(session)
    if worker is None or worker.slurm is None:
        return None
    pending = [PendingJob(job=job, slurm_job_id=slurm, why=why) for job, slurm, why in queries.list_pending(session)]
    return SlurmView.model_validate({**worker.slurm, "pending": pending, "nodes": _nodes(session)})


def _nodes(session: Session) -> list[NodeRecord]:
    """One record per node; an attempt on several nodes counts for each of them."""
    records: dict[str, NodeRecord] = {}
    for hosts, attempts, faults, last_fault_at in queries.list_host_records(session):
        for host in hosts.split(","):
            new = NodeRecord(node=host, attempts=0, hardware_faults=0, last_fault_at=None)
            record = records.setdefault(host, new)
            record.attempts += attempts
            record.hardware_faults += faults
            record.last_fault_at = max(filter(None, (record.last_fault_at, iso(last_fault_at))), default=None)
    return [records[host] for host in sorted(records)]
