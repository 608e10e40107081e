"""The checkpoints of a run: those that are kept, and those of which only a trace is left."""

from __future__ import annotations

from collections.abc import Sequence

from app.jobs.provenance_schemas import CheckpointRecord, RemovedCheckpoint
from app.models import Attempt
from core.run.durable import DamagedFileError, read_manifest
from core.run.rundir import RunDir


def kept_checkpoints(run_dir: RunDir) -> list[CheckpointRecord]:
    """The checkpoints in the run directory, oldest first; damaged ones are left out."""
    records = []
    for file in sorted(run_dir.checkpoints.glob("step-*/manifest.json")):
        try:
            manifest = read_manifest(file)
        except (DamagedFileError, OSError):
            continue
        # Those of earlier versions have neither parent nor identity.
        record = {name: manifest.get(name) or None for name in ("parent", "identity")}
        record |= {name: manifest[name] for name in ("step", "epoch", "sha256", "bytes")}
        records.append(CheckpointRecord.model_validate(record))
    return records


def removed_checkpoints(kept: Sequence[CheckpointRecord], attempts: Sequence[Attempt]) -> list[RemovedCheckpoint]:
    """Those that an attempt resumed from, then those that a kept one came from, each once and only if not kept."""
    known = {record.sha256 for record in kept}
    removed = []
    for attempt in attempts:
        point = (attempt.identity or {}).get("resumed_from")
        if point and point["sha256"] not in known:
            known.add(point["sha256"])
            why = f"attempt {attempt.number} resumed from it"
            removed.append(RemovedCheckpoint(step=point["step"], sha256=point["sha256"], known_because=why))
    for record in kept:
        if record.parent and record.parent not in known:
            known.add(record.parent)
            why = f"parent of step {record.step:,}"
            removed.append(RemovedCheckpoint(step=None, sha256=record.parent, known_because=why))
    return removed


def describe_checkpoints(kept: Sequence[CheckpointRecord], removed: Sequence[RemovedCheckpoint]) -> str:
    """How many checkpoints are kept, which are known to be gone, and that others may have left no trace."""
    if not kept and not removed:
        return "No checkpoint is kept"
    steps = ", ".join(f"{record.step:,}" for record in kept)
    names = {0: "No checkpoint is kept", 1: f"1 checkpoint is kept, of step {steps}"}
    sentence = names.get(len(kept), f"{len(kept)} checkpoints are kept, of steps {steps}")
    if removed:
        sentence += f"; no longer kept: {', '.join(_name(record) for record in removed)}"
    return f"{sentence}. Others that newer ones replaced are not recorded"


def _name(record: RemovedCheckpoint) -> str:
    if record.step is None:
        return f"the {record.known_because}, whose own step is not recorded"
    return f"step {record.step:,} ({record.known_because})"
