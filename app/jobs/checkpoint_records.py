"""The checkpoints of a run that something still tells of, whether or not they are kept."""

from __future__ import annotations

from collections.abc import Sequence

from app.jobs.provenance_schemas import CheckpointRecord
from app.models import Attempt
from core.run.durable import DamagedFileError, read_manifest
from core.run.rundir import RunDir


def known_checkpoints(run_dir: RunDir, attempts: Sequence[Attempt]) -> list[CheckpointRecord]:
    """Those that are kept, those that an attempt resumed from, and the parents of both, oldest first."""
    kept = _kept(run_dir)
    known = {record.sha256 for record in kept}
    # Every record with the step by which it is sorted: a parent of an unknown step comes right before its child.
    placed = [(float(record.step or 0), record) for record in kept]
    for attempt in attempts:
        point = (attempt.identity or {}).get("resumed_from")
        if point and point["sha256"] not in known:
            known.add(point["sha256"])
            placed.append((float(point["step"]), _no_longer_kept(point["sha256"], point["step"])))
    for record in kept:
        if record.parent and record.parent not in known:
            known.add(record.parent)
            placed.append(((record.step or 0) - 0.5, _no_longer_kept(record.parent, None)))
    return [record for _, record in sorted(placed, key=lambda pair: pair[0])]


def describe_checkpoints(records: Sequence[CheckpointRecord]) -> str:
    """How many checkpoints are kept, which are known to be gone, and that others may have left no trace."""
    if not records:
        return "No checkpoint is kept"
    kept = [record for record in records if record.kept]
    gone = [record for record in records if not record.kept]
    steps = ", ".join(f"{record.step:,}" for record in kept)
    names = {0: "No checkpoint is kept", 1: f"1 checkpoint is kept, of step {steps}"}
    sentence = names.get(len(kept), f"{len(kept)} checkpoints are kept, of steps {steps}")
    if gone:
        sentence += f"; no longer kept: {', '.join(_name(record, kept) for record in gone)}"
    return f"{sentence}. Others that newer ones replaced are not recorded"


def _name(record: CheckpointRecord, kept: Sequence[CheckpointRecord]) -> str:
    if record.step is not None:
        return f"step {record.step:,}, from which an attempt resumed"
    child = next(other for other in kept if other.parent == record.sha256)
    return f"the parent of step {child.step:,}"


def _kept(run_dir: RunDir) -> list[CheckpointRecord]:
    """The checkpoints in the run directory, without damaged ones."""
    records = []
    for file in sorted(run_dir.checkpoints.glob("step-*/manifest.json")):
        try:
            manifest = read_manifest(file)
        except (DamagedFileError, OSError):
            continue
        # Those of earlier versions have neither parent nor identity.
        record = {name: manifest.get(name) or None for name in ("parent", "identity")}
        record |= {name: manifest[name] for name in ("step", "epoch", "sha256", "bytes")}
        records.append(CheckpointRecord.model_validate(record | {"kept": True}))
    return records


def _no_longer_kept(sha256: str, step: int | None) -> CheckpointRecord:
    return CheckpointRecord(
        step=step, epoch=None, sha256=sha256, bytes=None, parent=None, identity=None, kept=False
    )  # fmt: skip
