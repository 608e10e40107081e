"""Checkpoints of a run: one folder each. After any crash, the newest intact one is found again.

`checkpoints/step-000000123/state.pth` holds tensors and plain values (loadable with `weights_only=True`);
`manifest.json` beside it is written last and holds the SHA-256.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from core.reporting.alerts import Alert
from core.run.durable import (
    DamagedFileError,
    read_manifest,
    sync_folder,
    verify_file,
    write_hashed,
    write_manifest,
)

FORMAT = 1
_PREFIX = "step-"


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint: the number of steps and epochs that are done, the saved state and the file's SHA-256."""

    path: Path
    step: int
    epoch: int
    state: dict[str, Any]
    sha256: str


def save_checkpoint(
    folder: Path,
    state: dict[str, Any],
    *,
    step: int,
    epoch: int,
    keep: int,
    parent: str | None = None,
    identity: str = "",
) -> Path:
    """Writes a checkpoint, then removes all but the newest `keep`. Replaces one of the same step.

    Checkpoints of later steps, which were damaged when training resumed, are set aside as `damaged-step-..`.

    `parent` is the SHA-256 of the checkpoint that training came from, and `identity` the digest of all that decided the
    state (`RunIdentity`).
    """
    final = folder / f"{_PREFIX}{step:09d}"
    draft = folder / f".{final.name}.{os.getpid()}.tmp"
    replaced = folder / f".{final.name}.{os.getpid()}.old.tmp"
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in (draft, replaced):
        shutil.rmtree(leftover, ignore_errors=True)
    draft.mkdir()
    try:
        digest = write_hashed(draft / "state.pth", lambda file: torch.save(state, file))  # type: ignore[arg-type]
        write_manifest(
            draft / "manifest.json",
            {
                "format": FORMAT,
                "step": step,
                "epoch": epoch,
                "bytes": (draft / "state.pth").stat().st_size,
                "sha256": digest,
                "parent": parent,
                "identity": identity,
            },
        )
        # Renaming takes no time; a crash while the folder is being deleted could cost the only checkpoint.
        if final.exists():
            os.rename(final, replaced)
        os.rename(draft, final)
        sync_folder(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    for later in _newest_first(folder):
        if later.name > final.name:
            _set_aside(later)
    for old in _newest_first(folder)[keep:]:
        shutil.rmtree(old, ignore_errors=True)
    for abandoned in folder.glob(f".{_PREFIX}*.tmp"):
        shutil.rmtree(abandoned, ignore_errors=True)
    return final


def _set_aside(path: Path) -> None:
    """Renames a checkpoint of a step to come: training came from an earlier one, since this could not be loaded.

    Otherwise it would count among the newest, and push out those that can be.
    """
    aside = path.with_name(f"damaged-{path.name}")
    shutil.rmtree(aside, ignore_errors=True)
    os.rename(path, aside)


def checkpoint_sha256(path: Path) -> str:
    """The SHA-256 of a checkpoint's state, as its manifest has it."""
    return str(read_manifest(path / "manifest.json")["sha256"])


def load_checkpoint(path: Path) -> Checkpoint:
    """Loads a checkpoint onto the CPU and verifies it; raises DamagedFileError."""
    try:
        manifest = read_manifest(path / "manifest.json")
    except OSError as error:
        raise DamagedFileError(path / "manifest.json", f"cannot be read ({error.strerror})") from None
    if manifest.get("format") != FORMAT:
        raise DamagedFileError(
            path, f"has checkpoint format {manifest.get('format')}; this version reads format {FORMAT}"
        )
    file = path / "state.pth"
    verify_file(file, sha256=manifest["sha256"], size_bytes=manifest["bytes"])
    state = torch.load(file, map_location="cpu", weights_only=True)
    return Checkpoint(path, manifest["step"], manifest["epoch"], state, manifest["sha256"])


def load_newest(folder: Path, on_damage: Callable[[DamagedFileError], object]) -> Checkpoint | None:
    """The newest intact checkpoint, or None; `on_damage` is called for every damaged newer one."""
    for path in _newest_first(folder):
        try:
            return load_checkpoint(path)
        except DamagedFileError as damage:
            on_damage(damage)
    return None


def damage_alert(damage: DamagedFileError) -> Alert:
    """What to tell about a checkpoint that was passed over, once, however many attempts pass it over."""
    folder = next((part for part in reversed(damage.path.parts) if part.startswith(_PREFIX)), damage.path.name)
    return Alert("damaged_checkpoint", "A checkpoint is damaged", f"not used: {damage}", subject=folder, once=True)


def has_checkpoint(folder: Path) -> bool:
    """Whether there is a checkpoint, intact or not."""
    return bool(_newest_first(folder))


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{_PREFIX}[0-9]*"), reverse=True)
