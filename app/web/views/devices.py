"""The devices of workers, each with the job on it and what this job last reported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.cluster.schemas import WorkerView
from app.jobs.schemas import JobSummary


@dataclass(frozen=True)
class JobLoad:
    """A running job with its speed, and the utilisation (0 to 1) and memory (GiB) of its first process."""

    job: JobSummary
    images_per_s: float | None
    gpu_util: float | None
    gpu_memory_gib: float | None
    memory_gib: float | None


@dataclass(frozen=True)
class DeviceRow:
    """A device and the job that holds it; `job_id` stands alone if the job is no longer known."""

    name: str
    job_id: str | None
    load: JobLoad | None


@dataclass(frozen=True)
class WorkerRow:
    """A worker with its devices."""

    worker: WorkerView
    devices: list[DeviceRow]
    busy: int
    has_gpus: bool


def job_load(job: JobSummary) -> JobLoad:
    """What a job last reported about its speed and its machine."""
    utilization = job.metrics.get("system/gpu_util")
    return JobLoad(
        job=job,
        images_per_s=job.progress.images_per_s or job.metrics.get("throughput/images_per_s"),
        gpu_util=None if utilization is None else utilization / 100,
        gpu_memory_gib=job.metrics.get("system/gpu_mem_gb"),
        memory_gib=job.metrics.get("system/rss_gb"),
    )


def worker_row(worker: WorkerView, jobs: Mapping[str, JobSummary]) -> WorkerRow:
    """A worker with the jobs on its devices."""
    devices = [
        DeviceRow(device.device, device.job, job_load(jobs[device.job]) if device.job and device.job in jobs else None)
        for device in worker.devices
    ]
    return WorkerRow(
        worker=worker,
        devices=devices,
        busy=sum(device.job_id is not None for device in devices),
        has_gpus=any(not device.name.startswith("cpu") for device in devices),
    )
