"""What a worker does to jobs between two requests, without a training process."""

from __future__ import annotations

import hashlib
import random
from datetime import UTC, datetime

from sqlmodel import col, select

from app.db import now, reading, transaction
from app.jobs.transitions import transition
from app.models import TERMINAL_STATES, Attempt, Job, Reason, State
from tests.app.api import EventFile, Service
from worker.ingest import ingest

CONTENT = b"a component"
ENDS = {
    State.waiting: (State.queued, State.failed),
    State.pausing: (State.paused,),
    State.cancelling: (State.cancelled,),
}


class Worker:
    """Does between two requests what a worker would: it starts jobs, takes what they report, and ends them."""

    def __init__(self, service: Service, chance: random.Random) -> None:
        self._service = service
        self._engine = service.app.state.engine
        self._chance = chance

    def work(self, about: str) -> None:
        """One thing, for one of the jobs: mostly the one that the next request is about."""
        with reading(self._engine) as session:
            its = col(Job.state).not_in([State.paused, *TERMINAL_STATES])
            rows = session.exec(select(Job).where(its).order_by(col(Job.created_at)))
            jobs = [(job.id, State(job.state), job.attempt) for job in rows]
        if not jobs:
            return
        next_ones = [job for job in jobs if job[0] == about] if self._chance.random() < 0.7 else []
        job_id, state, number = self._chance.choice(next_ones or jobs)
        if state is State.queued:
            with transaction(self._engine) as session:
                assert transition(session, job_id, State.starting, attempt=number + 1, started_at=now())
                session.add(Attempt(job_id=job_id, number=number + 1, executor="local", host="here", devices=["cpu"]))
        elif state is State.starting:
            self._report(job_id, number)
        elif state in ENDS or self._chance.random() < 0.15:
            to = self._chance.choice(ENDS.get(state, (State.succeeded, State.failed, State.queued)))
            with transaction(self._engine) as session:
                assert transition(session, job_id, to, reason=Reason.lost, message="because")
                attempt = session.get(Attempt, (job_id, number))
                if attempt is not None:
                    attempt.ended_at, attempt.outcome, attempt.message = now(), "lost", "because"

    def _report(self, job_id: str, number: int) -> None:
        with reading(self._engine) as session:
            attempt = session.get(Attempt, (job_id, number))
            assert attempt is not None
            session.expunge(attempt)
        run = self._service.context.attempt((job_id, number))
        file = EventFile(run.events)
        file.add("state", {"state": "running", "step": 0})
        file.metrics(1, train__loss_total=1.0)
        file.metrics(2, train__loss_total=None)
        file.add("progress", {"epoch": 1, "epochs": 3, "step": 2, "steps": 6, "images_per_s": 9.5, "eta_s": 1.0})
        run.run.components.mkdir(exist_ok=True)
        (run.run.components / "blob").write_bytes(CONTENT)
        entry = {
            "file": "blob",
            "name": "expert_0",
            "place": "expert_0",
            "bytes": len(CONTENT),
            "sha256": hashlib.sha256(CONTENT).hexdigest(),
        }
        manifest = {"name": "expert_0", "role": "expert", "epoch": 1, "metrics": {"val/accuracy": 0.5}}
        manifest |= {"selected_by": "val/accuracy", "config": {}, "created_at": datetime.now(UTC).isoformat()}
        file.add("component", manifest | {"files": {"pth": entry, "safetensors": entry}})
        run.log.write_text("one\ntwo\n")
        assert ingest(self._engine, attempt, run.events) > 0
