"""Attempts of other machines whose workers never come back: ended here, so that their jobs go on elsewhere.

A worker that is not heard from may have died while its training processes live on, and then nothing is lost by
waiting. So an attempt is given up on only when for `MCN_WORKER_LOST_MIN` minutes neither its worker nor its process has
shown a sign of life. If the machine comes back after all, the process ends at its next step because a newer attempt
exists, and the worker kills what is left.
"""

from __future__ import annotations

import logging
import time

from app.db import reading
from app.models import Reason, State
from app.operations.logs import bound_contextvars
from core.run.protocol import Claim, Outcome
from core.run.rundir import AttemptDir
from worker import attempts, queries
from worker.context import WorkerContext
from worker.executors.base import Observation, ProcessState, TrackedAttempt

log = logging.getLogger(__name__)


def end_lost_attempts(context: WorkerContext) -> int:
    """Ends attempts of workers that are lost; returns how many."""
    local = [name for name, executor in context.executors.items() if executor.is_local]
    with reading(context.engine) as session:
        rows = queries.attempts_of_silent_workers(session, local, context.host)
        session.expunge_all()
    tracked = {
        (attempt.job_id, attempt.number): TrackedAttempt(
            attempt, context.attempt((attempt.job_id, attempt.number)), State(state), message
        )
        for attempt, state, message, _ in rows
    }
    for key in context.last_news.keys() - tracked.keys():
        del context.last_news[key]
    ended = 0
    for one, (attempt, _, _, silent_s) in zip(tracked.values(), rows, strict=True):
        if not _is_over(context, one, silent_s):
            continue
        with bound_contextvars(job_id=attempt.job_id, attempt=attempt.number):
            log.warning("%s has not been heard from: ending attempt %d of job %s", attempt.host, *reversed(one.key))
            # A process that starts late finds the attempt claimed.
            Claim.abandoned().try_claim(one.dir)
            message = f"the worker on {attempt.host} was lost: will resume elsewhere from the latest checkpoint"
            lost = Observation(ProcessState.ended, host=attempt.host, reason=Reason.node_failure, message=message)
            ended += attempts.monitor(context, context.executors[attempt.executor], one, lost)
    return ended


def _is_over(context: WorkerContext, tracked: TrackedAttempt, silent_s: float) -> bool:
    # The user wants no result of it, or its process has reported how it ended.
    if tracked.job_state is State.cancelling or Outcome.read(tracked.dir) is not None:
        return True
    # By this machine's clock and by sizes: clocks of several machines, and of a file server, may differ.
    size, since = context.last_news.get(tracked.key, (-1, 0.0))
    if size != (size := _size(tracked.dir)):
        since = time.monotonic()
        context.last_news[tracked.key] = (size, since)
    limit_s = 60.0 * context.settings.worker_lost_min
    return silent_s > limit_s and time.monotonic() - since > limit_s


def _size(attempt: AttemptDir) -> int:
    try:
        return attempt.events.stat().st_size
    except FileNotFoundError:
        return 0


def kill_leftovers(context: WorkerContext) -> None:
    """Kills processes of this machine whose attempts another worker has ended."""
    for name, executor in context.executors.items():
        if executor.is_local:
            with reading(context.engine) as session:
                ended = queries.given_up_attempts(session, name, context.host)
                session.expunge_all()
            for attempt in ended:
                key = (attempt.job_id, attempt.number)
                executor.kill_leftover(TrackedAttempt(attempt, context.attempt(key), State.cancelling, None))
