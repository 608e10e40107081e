"""The Celery application, `celery -A worker.app worker`, and the rounds that it makes with or without a nudge."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Any

from celery import Celery
from celery.signals import worker_init, worker_shutting_down

from app.jobs.dispatch import celery_config
from app.settings import Settings
from worker import reconcile as rounds
from worker.context import worker_context

log = logging.getLogger(__name__)
# How often this machine's own processes are looked after.
MONITOR_INTERVAL_S = 0.1
CLEAN_UP_INTERVAL_S = 3600.0
STOP_LIMIT_S = 10.0

settings = Settings()
app = Celery("mcn")
app.conf.update(
    celery_config(settings),
    worker_pool="threads",
    worker_concurrency=2,
    worker_send_task_events=False,
)
_round_lock = threading.Lock()
_stopping = threading.Event()


@app.task(name="start")
def start() -> None:
    """Sent when a job has been queued."""
    with _round_lock:
        rounds.start_all(worker_context())


@app.task(name="monitor")
def monitor() -> None:
    """Sent when a job that runs is to be stopped."""
    with _round_lock:
        rounds.monitor_local(worker_context())
        rounds.monitor_remote(worker_context())


# Not when the worker is ready: that waits for the broker, which the rounds do not need.
@worker_init.connect
def _start_rounds(**_: Any) -> None:
    worker_context()
    settings.no_new_starts.unlink(missing_ok=True)
    # Settings of the service, which hold secrets, must not reach the processes that are started from here.
    for name in [name for name in os.environ if name.startswith("MCN_")]:
        del os.environ[name]
    threading.Thread(target=_run_rounds, name="rounds", daemon=True).start()


@worker_shutting_down.connect
def _stop(**_: Any) -> None:
    _stopping.set()
    # The round under way ends. Celery would then wait some seconds for messages, which are mere nudges.
    if _round_lock.acquire(timeout=STOP_LIMIT_S):
        for executor in worker_context().executors.values():
            executor.close()
        os._exit(0)


def _run_rounds() -> None:
    """Monitors this machine's processes closely, and everything else every `reconcile_s` seconds, without a broker."""
    context = worker_context()
    reconcile_at = clean_up_at = time.monotonic()
    while not _stopping.wait(MONITOR_INTERVAL_S):
        try:
            with _round_lock:
                if time.monotonic() >= reconcile_at:
                    # Counted from the start of a round, so that long rounds do not make them rarer.
                    reconcile_at = time.monotonic() + settings.reconcile_s
                    rounds.reconcile(context)
                elif rounds.monitor_local(context):
                    rounds.start_all(context)
            if time.monotonic() >= clean_up_at:
                clean_up_at = time.monotonic() + CLEAN_UP_INTERVAL_S
                rounds.delete_unused_submissions(context)
        except Exception as error:  # the database may be unreachable for a while
            log.warning("round failed, will try again: %s", error)
