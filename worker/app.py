"""The Celery application, `celery -A worker.app worker`, and the rounds that it runs with or without messages."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from celery import Celery
from celery.signals import setup_logging, worker_init, worker_shutting_down
from sqlalchemy.exc import SQLAlchemyError

from app.db import listen
from app.jobs.dispatch import QUEUE, celery_config
from app.operations.logs import configure_logging
from app.settings import Settings
from worker import reconcile as rounds
from worker import retention
from worker.context import WorkerContext, worker_context

log = logging.getLogger(__name__)
# How often the processes on this machine are checked while there are any.
MONITOR_INTERVAL_S = 0.1
CLEAN_UP_INTERVAL_S = 3600.0
STOP_LIMIT_S = 10.0
# What is being sent is marked as delivered, instead of being sent again by the next worker.
WEBHOOK_STOP_LIMIT_S = 6.0

settings = Settings()
app = Celery("mcn")
app.conf.update(
    celery_config(settings),
    worker_pool="threads",
    worker_concurrency=2,
    worker_send_task_events=False,
)
# Two threads, so that a scheduler that takes long to answer delays nothing on this machine. Each wakes the other when
# an attempt has ended, because a job that waited for it may belong to the other.
_local_lock = threading.Lock()
_remote_lock = threading.Lock()
_local_nudge = threading.Event()
_remote_nudge = threading.Event()
_stopping = threading.Event()
# What else ends with the worker, by a time limit in seconds.
_on_stop: list[Callable[[float], None]] = []


@app.task(name="start")
def start() -> None:
    """Sent when a job has been queued."""
    _remote_nudge.set()
    with _local_lock:
        rounds.start_local(worker_context())


@app.task(name="monitor")
def monitor() -> None:
    """Sent when a running job is to be stopped."""
    _remote_nudge.set()
    with _local_lock:
        _monitor_and_start(worker_context())


@setup_logging.connect
def _set_up_logging(**_: Any) -> None:
    configure_logging(settings)


# Not when the worker is ready: that waits for the broker, which the rounds do not need.
@worker_init.connect
def _start_rounds(**_: Any) -> None:
    # Celery sets up logs later; what goes wrong here belongs into them.
    configure_logging(settings)
    try:
        worker_context()
    except Exception as error:  # Celery would only log it, and run a worker that does nothing
        log.exception("the worker cannot start")
        raise SystemExit(1) from error
    settings.no_new_starts.unlink(missing_ok=True)
    # Settings of the service, which hold secrets, must not reach the processes that are started from here.
    for name in [name for name in os.environ if name.startswith("MCN_")]:
        del os.environ[name]
    context = worker_context()
    log.info("the worker on %s is ready, with the devices %s", context.host, ", ".join(context.capacity.devices))
    _start_webhooks(context)
    for run in (_run_local_rounds, _run_remote_rounds, _run_retention, _receive_notifications):
        threading.Thread(target=run, name=run.__name__.strip("_"), daemon=True).start()


def _start_webhooks(context: WorkerContext) -> None:
    if not settings.webhook_url:
        return
    # Only a service that has receivers needs the HTTP client.
    from worker.webhooks import WebhookSender

    sender = WebhookSender(context.engine, settings)
    _on_stop.append(sender.stop)
    sender.start()


@worker_shutting_down.connect
def _stop(**_: Any) -> None:
    _stopping.set()
    # The rounds under way end. Celery would then wait some seconds for messages, which this worker does not need.
    deadline = time.monotonic() + STOP_LIMIT_S
    for stop in _on_stop:
        stop(WEBHOOK_STOP_LIMIT_S)
    if all(lock.acquire(timeout=max(0.0, deadline - time.monotonic())) for lock in (_local_lock, _remote_lock)):
        for executor in worker_context().executors.values():
            executor.close()
        os._exit(0)


def _run_local_rounds() -> None:
    """Monitors this machine's processes closely, and everything else here every `reconcile_s` seconds."""
    context = worker_context()
    reconcile_at = clean_up_at = time.monotonic()

    def run_round() -> None:
        nonlocal reconcile_at, clean_up_at
        if time.monotonic() >= reconcile_at:
            # Counted from the start of a round, so that long rounds do not make them rarer.
            reconcile_at = time.monotonic() + settings.reconcile_s
            if rounds.reconcile_local(context):
                _remote_nudge.set()
        elif _local_nudge.is_set():
            _local_nudge.clear()
            rounds.start_local(context)
        elif rounds.has_local_attempts(context):
            _monitor_and_start(context)
        if time.monotonic() >= clean_up_at:
            clean_up_at = time.monotonic() + CLEAN_UP_INTERVAL_S
            rounds.delete_unused_submissions(context)
            rounds.clean_up_webhooks(context)

    while not _stopping.wait(MONITOR_INTERVAL_S):
        _try_round(run_round, _local_lock)


def _monitor_and_start(context: WorkerContext) -> None:
    if rounds.monitor_local(context):
        rounds.start_local(context)
        _remote_nudge.set()


def _run_remote_rounds() -> None:
    """Monitors and starts jobs of the other executors every `reconcile_s` seconds, and when it is nudged."""
    context = worker_context()

    def run_round() -> None:
        if rounds.reconcile_remote(context):
            _local_nudge.set()

    while not _stopping.is_set():
        _remote_nudge.clear()
        _try_round(run_round, _remote_lock)
        _remote_nudge.wait(settings.reconcile_s)


def _run_retention() -> None:
    """Deletes ended jobs as the retention policy says."""
    retention.run_rounds(worker_context(), _stopping)


def _receive_notifications() -> None:
    """Wakes both threads when a change on which this worker may act is committed. On SQLite there is one worker."""
    if settings.sqlalchemy_url.startswith("sqlite"):
        return
    for message in listen(settings.sqlalchemy_url, QUEUE):
        if _stopping.is_set():
            return
        if message is not None:
            _local_nudge.set()
            _remote_nudge.set()


def _try_round(run_round: Callable[[], None], lock: threading.Lock) -> None:
    try:
        with lock:
            run_round()
    except SQLAlchemyError as error:  # the database may be unreachable for a while
        log.warning("round failed, will try again: %s", error)
    except Exception:  # a defect must not end the thread that looks after all jobs
        log.exception("round failed, will try again")
