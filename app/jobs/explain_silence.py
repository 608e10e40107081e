"""What is said of a job with a process whose worker has not been heard from: what is known, and what will happen."""

from __future__ import annotations

from sqlmodel import Session

from app.db import database_time
from app.jobs import queue_queries
from app.jobs.report_schemas import Action, Explanation
from app.jobs.wording import about
from app.models import WORKER_TIMEOUT, Job, State, Worker
from app.settings import Settings

START_WORKER = Action(label="Start a worker", method=None, path=None, command="mcn up")


def with_silence(session: Session, job: Job, settings: Settings, known: Explanation) -> Explanation:
    """The explanation `known`, which holds while news arrives, with what is left of it if none does."""
    live, latest = queue_queries.workers(session)
    attempt = queue_queries.latest_attempt(session, job)
    host = attempt.host if attempt is not None and job.executor == "local" else ""
    silent = _silent_worker(session, job, live, latest, host)
    if silent is None:
        return known
    since = about(max((database_time(session) - silent.seen_at).total_seconds(), WORKER_TIMEOUT.total_seconds()))
    where = f" on {host}" if host else ""
    return Explanation(
        sentence=f"The worker{where} has not been heard from for {since}: what the job does now is not known.",
        evidence=[f"Last known: {known.sentence}", *known.evidence, _rule(job, settings, has_others=bool(live))],
        actions=known.actions if live and job.executor == "local" else [START_WORKER, *known.actions],
    )


def _silent_worker(session: Session, job: Job, live: list[Worker], latest: Worker | None, host: str) -> Worker | None:
    """The worker that watches the job if it is not alive."""
    if host:
        own = session.get(Worker, host)
        return own if own is not None and own not in live else None
    watching = [worker for worker in live if worker.slurm is not None or job.executor == "local"]
    return None if watching else latest


def _rule(job: Job, settings: Settings, *, has_others: bool) -> str:
    if job.executor != "local":
        return "Slurm goes on with it; news arrives once a worker that reaches Slurm runs."
    if not has_others:
        return (
            "No other worker is there. Once one runs, the job goes on: with its process if that is alive, "
            "otherwise from its latest checkpoint."
        )
    if job.state == State.cancelling:
        return "Another worker ends it within seconds."
    limit = about(60.0 * settings.worker_lost_min)
    return f"If nothing is heard from its process either, another worker takes the job over after {limit}."
