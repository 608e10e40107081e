"""Applies the retention policy about once an hour, in a thread of its own: deleting files may take long."""

from __future__ import annotations

import logging
import threading
import time

from sqlalchemy.exc import SQLAlchemyError

from app.db import reading, transaction
from app.jobs.deletion import remove_leftovers
from app.operations.retention import service
from app.operations.retention.run import run
from worker.context import WorkerContext

log = logging.getLogger(__name__)
# How long a run that is due may wait for a worker to look.
CHECK_INTERVAL_S = 20.0
LEFTOVERS_INTERVAL_S = 3600.0


def run_if_due(context: WorkerContext, stopping: threading.Event) -> bool:
    """Deletes what the policy says if that is due and no other worker does it; returns whether it did."""
    # A read transaction first: it holds up no writer.
    with reading(context.engine) as session:
        if not service.is_due(session):
            return False
    with transaction(context.engine) as session:
        if not service.claim_run(session):
            return False
    run(context.engine, context.settings, f"worker {context.host}", go_on=lambda: not stopping.is_set())
    return True


def run_rounds(context: WorkerContext, stopping: threading.Event) -> None:
    """Looks until the worker stops, and now and then removes files that a killed process has left behind."""
    leftovers_at = time.monotonic()
    while not stopping.wait(CHECK_INTERVAL_S):
        try:
            if time.monotonic() >= leftovers_at:
                leftovers_at = time.monotonic() + LEFTOVERS_INTERVAL_S
                remove_leftovers(context.engine, context.settings)
            run_if_due(context, stopping)
        except SQLAlchemyError as error:  # the database may be unreachable for a while
            log.warning("retention has to wait, will try again: %s", error)
        except Exception:  # a defect must not end the thread
            log.exception("retention failed, will try again")
