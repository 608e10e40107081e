"""Workers and the Slurm cluster as clients see them."""

from __future__ import annotations

from pydantic import BaseModel


class DeviceView(BaseModel):
    """A device of a worker, and the job that holds it."""

    device: str
    job: str | None


class DiskView(BaseModel):
    """The space of a machine's data folder in gigabytes (10^9 bytes).

    With less than `min_free_gb`, `starts_paused` is true and no job starts there until `resume_at_gb` are free; it is
    also true if run directories are not `writable`.
    """

    free_gb: float
    total_gb: float
    min_free_gb: float
    resume_at_gb: float
    starts_paused: bool
    writable: bool


class WorkerView(BaseModel):
    """A machine that trains. It is alive if its latest heartbeat is recent; `memory_gb` is in GiB."""

    host: str
    seen_at: str
    cpus: int
    memory_gb: float
    alive: bool
    devices: list[DeviceView]
    disk: DiskView | None


class Partition(BaseModel):
    """A Slurm partition; `nodes` counts its nodes by state."""

    name: str
    default: bool
    up: bool
    time_limit: str
    nodes: dict[str, int]
    gres: list[str]


class PendingJob(BaseModel):
    """A job that is pending in Slurm, and why."""

    job: str
    slurm_job_id: str | None
    why: str | None


class NodeRecord(BaseModel):
    """How many attempts ran on a Slurm node, and how many failed with a hardware fault."""

    node: str
    attempts: int
    hardware_faults: int
    last_fault_at: str | None


class SlurmView(BaseModel):
    """The Slurm cluster as a worker saw it last."""

    version: str
    reachable: bool
    max_array_size: int
    partitions: list[Partition]
    pending: list[PendingJob]
    nodes: list[NodeRecord]


class OwnerUsage(BaseModel):
    """What the jobs of one owner have used."""

    owner: str
    device_hours: float
    attempts: int
    jobs: int


class Usage(BaseModel):
    """Device-hours in the last `days` days, by owner. Jobs that have been deleted do not count."""

    days: int
    since: str
    device_hours: float
    owners: list[OwnerUsage]


class OwnerMonth(BaseModel):
    """What one owner has used in a month, with the state of today.

    `device_hours` is the sum of `gpu_hours` and `cpu_hours`. Of the `jobs` that were created in the month, some have
    `succeeded` or `failed` since. `running` jobs and `stored_bytes` of run directories are those of now.
    """

    owner: str
    device_hours: float
    gpu_hours: float
    cpu_hours: float
    jobs: int
    succeeded: int
    failed: int
    running: int
    stored_bytes: int


class MonthUsage(BaseModel):
    """The usage of a calendar month (UTC) by owner, the largest share of the device-hours first."""

    month: str
    device_hours: float
    gpu_hours: float
    cpu_hours: float
    owners: list[OwnerMonth]


class ClusterView(BaseModel):
    """All machines. `jobs` counts jobs by state; `slurm` is null if no worker has access to Slurm."""

    workers: list[WorkerView]
    queue_length: int
    jobs: dict[str, int]
    slurm: SlurmView | None
