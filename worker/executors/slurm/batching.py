"""Which queued jobs to submit to Slurm next: one job, or similar jobs of a sweep as one array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session
from ulid import ULID

from app.jobs.quotas import room_to_start
from app.models import Job, Sweep
from app.settings import Settings
from worker import queries
from worker.executors.base import Batch, Submission
from worker.executors.slurm.cluster import Cluster
from worker.time_limit import lead_s


@dataclass(frozen=True)
class _Shape:
    """What jobs must have in common to be submitted as one array."""

    resources: dict[str, Any]
    lead_s: int
    exclude: tuple[str, ...]


def next_batch(session: Session, settings: Settings, cluster: Cluster) -> Batch | None:
    """The first job of the queue; if it belongs to a sweep, with all others of it that have the same shape."""
    first = next((job for job in queries.queued_jobs(session, "slurm") if queries.lock_queued(session, job)), None)
    if first is None:
        return None
    jobs, max_parallel, per_task = [first], None, 1
    job_name = f"{first.id}-a{first.attempt + 1}"
    shape = _shapes(session, settings, cluster, jobs)[0]
    sweep = session.get(Sweep, first.sweep) if first.sweep is not None else None
    if sweep is not None:
        limit = cluster.max_array_size
        # Several processes of one attempt find each other only if the task runs that attempt alone.
        is_one_process = shape.resources["nodes"] == 1 and (shape.resources["gpus"] or 1) == 1
        per_task = sweep.points_per_task if is_one_process else 1
        limit *= per_task
        if sweep.max_parallel is not None:
            live = queries.num_live_attempts(session, sweep.id)
            # Slurm applies the limit to each array: a second one must leave room for the first.
            max_parallel = sweep.max_parallel
            limit = limit if not live else min(limit, sweep.max_parallel - live)
        room = room_to_start(session, first.owner)
        limit = limit if room is None else min(limit, room)
        points = queries.queued_points(session, "slurm", sweep.id, max(1, limit))
        shapes = _shapes(session, settings, cluster, points)
        jobs = [job for job, job_shape in zip(points, shapes, strict=True) if job_shape == shape]
        if len(jobs) > 1:
            job_name = f"{sweep.id}.{ULID()}"
    return Batch(
        jobs,
        Submission(
            shape.resources,
            device="cpu" if shape.resources["gpus"] == 0 else None,
            lead_s=shape.lead_s,
            job_name=job_name,
            exclude=shape.exclude,
            processes_per_node=max(1, shape.resources["gpus"] or 1),
            max_parallel=max_parallel,
            attempts_per_task=min(per_task, len(jobs)),
        ),
    )


def _shapes(session: Session, settings: Settings, cluster: Cluster, jobs: Sequence[Job]) -> list[_Shape]:
    faulty = queries.faulty_nodes(session, [job.id for job in jobs if job.attempt])
    return [_shape(settings, cluster, job, tuple(sorted(faulty.get(job.id, ())))) for job in jobs]


def _shape(settings: Settings, cluster: Cluster, job: Job, exclude: tuple[str, ...]) -> _Shape:
    requested = job.spec["resources"]
    time_limit_min = requested["time_limit_min"] or settings.slurm_time_limit_min
    gpus = cluster.gpus(requested["slurm"]) if requested["gpus"] is None else requested["gpus"]
    resources = requested | {"time_limit_min": time_limit_min, "gpus": gpus}
    return _Shape(resources, lead_s(job.progress, time_limit_min), exclude)
