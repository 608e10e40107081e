"""Nudges to the workers: Celery messages that carry an id only, sent after the commit that they speak of."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any

from celery import Celery
from sqlmodel import Session

from app.db import after_commit
from app.settings import Settings

log = logging.getLogger(__name__)
QUEUE = "mcn"


def celery_config(settings: Settings) -> dict[str, Any]:
    """Celery's settings for both ends of the queue."""
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
        config["broker_url"] = "filesystem://"
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
    producer.conf.update(celery_config(settings))
    return producer


def send(settings: Settings, task: str, *arguments: str) -> None:
    """Sends a nudge; one that cannot be sent is not missed, for the reconciler looks at everything anyway."""
    try:
        _producer(settings).send_task(task, args=arguments, queue=QUEUE, retry=False)
    except Exception as error:  # whatever the broker's trouble is, the database has the truth
        log.warning("the broker cannot be reached, the reconciler will see to %s: %s", task, error)


def nudge(session: Session, settings: Settings, task: str, *arguments: str) -> None:
    """Sends a nudge after the session's commit."""
    after_commit(session, lambda: send(settings, task, *arguments))
