"""The page of the cluster: workers and devices, the queue, Slurm, device-hours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import Query, Request
from sqlmodel import Session
from starlette.responses import Response

from app.auth.principals import Viewer
from app.cluster import queries
from app.cluster.usage import usage
from app.cluster.views import cluster_view
from app.http.session import Configured, Reading
from app.jobs.explain import explain
from app.jobs.explain_queued import explain_in
from app.jobs.queries import summaries
from app.jobs.queue_queries import Queue
from app.jobs.report_schemas import Explanation
from app.models import Job
from app.settings import Settings
from app.web.render import page
from app.web.routing import FOLLOWS, page_router
from app.web.views.devices import job_load, worker_row
from app.web.views.queue import QueueEntry, grouped

router = page_router()
# Explaining a job takes some queries.
MAX_EXPLAINED, MAX_WAITING, MAX_IN_SLURM = 20, 10, 100
USAGE_DAYS = 30


@router.get("/ui/cluster", dependencies=FOLLOWS)
def cluster_page(
    request: Request,
    principal: Viewer,
    session: Reading,
    settings: Configured,
    with_usage: Annotated[Literal["now"] | None, Query(alias="usage")] = None,
) -> Response:
    """Everything that trains, and everything that waits to; device-hours are loaded afterwards, or `now`."""
    context = _context(session, settings) | {"usage": usage(session, USAGE_DAYS) if with_usage else None}
    return page(request, "cluster/cluster.html", **context, usage_days=USAGE_DAYS)


@router.get("/ui/-/cluster/usage")
def usage_fragment(request: Request, principal: Viewer, session: Reading) -> Response:
    """The device-hours, for which all attempts of a month are read."""
    return page(request, "cluster/_usage.html", usage=usage(session, USAGE_DAYS))


@router.get("/ui/-/cluster")
def cluster_fragment(request: Request, principal: Viewer, session: Reading, settings: Configured) -> Response:
    """The same without device-hours."""
    return page(request, "cluster/_live.html", **_context(session, settings))


def _context(session: Session, settings: Settings) -> dict[str, Any]:
    view = cluster_view(session)
    on_devices = {device.job for worker in view.workers for device in worker.devices if device.job}
    in_slurm = queries.list_in_slurm(session, limit=MAX_IN_SLURM)
    rows = queries.list_jobs_by_id(session, on_devices | {job.id for job, _, _ in in_slurm})
    jobs = {job.id: job for job in summaries(session, rows)}
    waiting = queries.list_waiting(session, limit=MAX_WAITING)
    queue = queries.list_queue(session, limit=MAX_EXPLAINED)
    workers = [worker_row(worker, jobs) for worker in view.workers]
    return {
        "cluster": view,
        "workers": workers,
        "num_devices": sum(len(row.devices) for row in workers if row.worker.alive),
        "num_free": sum(len(row.devices) - row.busy for row in workers if row.worker.alive),
        "in_slurm": [(job_load(jobs[job.id]), nodes, slurm_id) for job, nodes, slurm_id in in_slurm],
        "num_explained": len(queue),
        "queue": _explained(queue, partial(explain_in, Queue(session))),
        "waiting": _explained(waiting, partial(explain, session, settings=settings)),
    }


def _explained(jobs: Sequence[Job], explain_job: Callable[[Job], Explanation]) -> list[QueueEntry]:
    return grouped([(job, explain_job(job).sentence) for job in jobs])
