"""The outbox of webhooks as the tests use it: jobs that fail, and what is left to be sent."""

from __future__ import annotations

import threading
from typing import Any

from sqlalchemy import Engine, update
from sqlmodel import select

from app.db import database_time, reading, transaction
from app.jobs.transitions import transition
from app.models import Job, Reason, State, WebhookDelivery
from app.settings import Settings
from worker.webhooks import Receiver

SECRET = "a secret of a test"


def settings_for(*urls: str, **more: Any) -> Settings:
    return Settings(webhook_url=urls, webhook_secret=SECRET, **more)


def add_job(engine: Engine, job_id: str = "job_1", state: str = "running") -> None:
    with transaction(engine) as session:
        job = Job(id=job_id, kind="expert", name="ünï", state=state, owner="alice", attempt=2, spec={}, defaulted=[])
        session.add(job)


def fail_job(engine: Engine, job_id: str = "job_1") -> None:
    with transaction(engine) as session:
        assert transition(session, job_id, State.failed, reason=Reason.code_error, message="it broke")


def deliveries(engine: Engine) -> list[WebhookDelivery]:
    with reading(engine) as session:
        return list(session.exec(select(WebhookDelivery).order_by(WebhookDelivery.id)))  # type: ignore[arg-type]


def make_due(engine: Engine) -> None:
    """As if the waits for the next attempt, and leases, were over."""
    with transaction(engine) as session:
        session.execute(update(WebhookDelivery).values(next_at=database_time(session)))


def send_due(engine: Engine, url: str) -> None:
    with Receiver(engine, 1, url, SECRET) as receiver:
        receiver.send_due(threading.Event())
