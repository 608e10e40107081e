"""Services with jobs and run directories to back up."""

from __future__ import annotations

import os
from pathlib import Path

from app.db import transaction
from app.models import Attempt, State
from core.run.protocol import Claim
from core.run.rundir import RunDir
from tests.app.api import EventFile, Service
from worker.executors.processes import ProcessHandle


def write(file: Path, content: str = "content") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    return file


def give_files(service: Service, job_id: str) -> Path:
    """A run directory with a checkpoint, a component under two names, results and drafts."""
    run = service.settings.runs_dir / job_id
    write(run / "spec.json", "{}")
    write(run / "checkpoints/step-000000003/state.pth", "weights of step 3")
    write(run / "checkpoints/step-000000003/manifest.json", "{}")
    write(run / "checkpoints/.step-000000006.1.tmp/state.pth", "half")
    blob = write(run / "components/blobs/expert_0-1.pth", "weights of an expert")
    os.link(blob, run / "components/expert_0.pth")
    write(run / "components/expert_0.json", "{}")
    EventFile(run / "attempt-1/events.jsonl").metrics(3, train__loss_total=0.5)
    write(run / ".lock", "")
    return run


def start(service: Service, job_id: str, state: State = State.running) -> None:
    """An attempt as if this very process were training it."""
    service.transition(job_id, State.starting, attempt=1)
    if state is not State.starting:
        service.transition(job_id, state)
    handle = ProcessHandle.of(os.getpid())
    claim = Claim(pid=handle.pid, started_at=handle.started_at, host="here")
    claim.try_claim(RunDir(service.settings.runs_dir / job_id).attempt(1))
    with transaction(service.app.state.engine) as session:
        session.add(
            Attempt(job_id=job_id, number=1, executor="local", host="here", devices=["cpu"], handle=handle.to_json())
        )


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
