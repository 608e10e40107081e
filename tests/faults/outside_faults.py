"""Faults of servers outside of the service, which it reports to."""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import col, select

from app.db import reading
from app.models import Attempt, Job
from core.reporting.wandb import FINISH_LIMIT_S, INIT_LIMIT_S
from tests.faults.fault import Fault, Scene, nothing, restart

# What a job and the start of W&B itself take on a slow, busy machine.
SLACK_S = 60.0


def tracked_in_time(scene: Scene) -> Sequence[str]:
    """How long jobs took that report to a tracker which never answers."""
    keys = [key for key, name in scene.client.record.keys.items() if name == "tracked"]
    with reading(scene.stack.engine) as session:
        query = select(Attempt).join(Job, col(Job.id) == col(Attempt.job_id)).where(col(Job.idempotency_key).in_(keys))
        attempts = session.exec(query).all()
        limit_s = INIT_LIMIT_S + FINISH_LIMIT_S + SLACK_S
        took = {one.job_id: (one.ended_at - one.started_at).total_seconds() for one in attempts if one.ended_at}
    return [
        f"job {job_id} took {time_s:.0f} s with a silent W&B" for job_id, time_s in took.items() if time_s > limit_s
    ]


def send_webhooks(scene: Scene) -> None:
    """Restarts the workers with a receiver of webhooks that never answers."""
    for worker in scene.stack.workers:
        worker.kill()
        worker.start(MCN_WEBHOOK_URL=scene.stack.deaf_url)


def send_no_webhooks(scene: Scene) -> None:
    for worker in scene.stack.workers:
        worker.kill()
    restart(scene)


OUTSIDE_FAULTS: dict[str, Fault] = {
    "wandb-silent": Fault(
        "W&B accepts connections and never answers",
        nothing,
        nothing,
        jobs=("tracked", "short", "tracked"),
        controls=0.0,
        also=tracked_in_time,
    ),
    "webhook-silent": Fault(
        "the receiver of webhooks accepts connections and never answers",
        send_webhooks,
        send_no_webhooks,
        holds_s=(10.0, 20.0),
    ),
}
