"""The Celery application, `celery -A worker.app worker`, and the rounds that it makes whether or not it is nudged."""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

from celery import Celery
from celery.signals import worker_init, worker_shutting_down

from app.jobs.dispatch import celery_config
from app.settings import Settings
from worker import reconcile as rounds
from worker.context import worker_context

log = logging.getLogger(__name__)
SUPERVISE_S = 0.2
STOP_LIMIT_S = 10.0

settings = Settings()
app = Celery("mcn")
app.conf.update(
    celery_config(settings),
    worker_pool="threads",
    worker_concurrency=2,
    worker_send_task_events=False,
)
_one_round = threading.Lock()
_stopping = threading.Event()


@app.task(name="start")
def start() -> None:
    """A job may be startable."""
    with _one_round:
        rounds.start_all(worker_context())


@app.task(name="monitor")
def monitor() -> None:
    """Something is wished of a job that runs."""
    with _one_round:
        rounds.monitor_local(worker_context())
        rounds.monitor_slurm(worker_context())


# Not when the worker is ready: that would wait for the broker, of which the rounds have no need.
@worker_init.connect
def _supervise(**_: Any) -> None:
    worker_context()
    settings.no_new_starts.unlink(missing_ok=True)
    # What the service was told, secrets included, is no business of what is submitted from here.
    for name in [name for name in os.environ if name.startswith("MCN_")]:
        del os.environ[name]
    threading.Thread(target=_loop, name="supervisor", daemon=True).start()


@worker_shutting_down.connect
def _stop(**_: Any) -> None:
    _stopping.set()
    # The round that is under way ends. Celery would then wait some seconds for messages, which are mere nudges.
    if _one_round.acquire(timeout=STOP_LIMIT_S):
        os._exit(0)


def _loop() -> None:
    """Follows the processes on this machine closely; it needs no broker, so they are followed without one too."""
    context = worker_context()
    last = -1.0
    clock = 0.0
    while not _stopping.wait(SUPERVISE_S):
        clock += SUPERVISE_S
        try:
            with _one_round:
                if clock - last >= settings.reconcile_s:
                    last = clock
                    rounds.reconcile(context)
                elif rounds.monitor_local(context):
                    rounds.start_all(context)
        except Exception as error:  # the database may be away for a while
            log.warning("the round is put off: %s", error)
