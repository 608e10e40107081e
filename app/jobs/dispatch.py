"""Nudges: messages without arguments that tell the workers to look at the database now.

A message names what to look for (`start`: queued jobs; `monitor`: jobs to stop) and nothing else. Celery gives it to
one worker, which may be busy; on PostgreSQL a notification reaches all of them as well. It may be lost or delivered
twice: the reconciler of each worker looks at the same rows every `MCN_RECONCILE_S` seconds anyway. A thread sends
them: a broker that is paused or unreachable delays no request.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from celery import Celery
from sqlmodel import Session

from app.db import after_commit, notify
from app.jobs.broker import Transport
from app.jobs.nudger import Nudge, Nudger
from app.settings import Settings

QUEUE = "mcn"
# For one answer of Redis to a process that sends; a worker that waits for messages has more patience.
SEND_TIMEOUT_S = 0.5


def celery_config(settings: Settings) -> dict[str, Any]:
    """Celery's configuration, for the service that sends and the worker that receives."""
    config: dict[str, Any] = {
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,
        "task_default_queue": QUEUE,
        "task_acks_late": False,
        "worker_prefetch_multiplier": 1,
        "broker_connection_retry_on_startup": True,
        "worker_hijack_root_logger": False,
        "broker_url": settings.broker_url,
        "broker_transport_options": {"socket_timeout": 5, "socket_connect_timeout": 5, "max_retries": 1},
    }
    if settings.broker_url is None:
        folder = settings.data_dir / "broker"
        # It has no host, but without one kombu warns.
        config["broker_url"] = "filesystem://localhost"
        config["broker_transport"] = f"{Transport.__module__}:{Transport.__qualname__}"
        config["broker_transport_options"] = {
            "data_folder_in": str(folder),
            "data_folder_out": str(folder),
            "control_folder": str(folder / "control"),
            "polling_interval": 0.1,
        }
    return config


@lru_cache(maxsize=4)
def _producer(settings: Settings) -> Celery:
    producer = Celery("mcn", set_as_current=False)
    config = celery_config(settings)
    if settings.broker_url is not None:
        limits = {"socket_timeout": SEND_TIMEOUT_S, "socket_connect_timeout": SEND_TIMEOUT_S, "max_retries": 0}
        config["broker_transport_options"] = limits
    producer.conf.update(config)
    return producer


def nudge(session: Session, settings: Settings, task: Nudge) -> None:
    """Nudges the workers once the session has committed: only then can they see the change."""
    notify(session, QUEUE, task)
    after_commit(session, lambda: nudger.submit(settings, task))


def _send(settings: Settings, task: Nudge) -> None:
    _producer(settings).send_task(task, queue=QUEUE, retry=False)


nudger = Nudger(_send)
