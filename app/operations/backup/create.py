"""Makes a backup of a service that may be running, and of jobs that may be training."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from app.db import iso, now
from app.models import TERMINAL_STATES
from app.operations.backup.copying import NO_SPACE, copy, digest_of, sync_folders
from app.operations.backup.databases import check_source, dump, kind_of
from app.operations.backup.manifest import DATA, BackedUpFile, BackupError, Database, Manifest
from app.operations.backup.run_files import RunFiles, size_of
from app.settings import Settings

# Files of the data folder, besides run directories, that a service cannot make again.
_SINGLE_FILES = ("admin-token",)
# Called with the bytes that are done and the expected total.
OnProgress = Callable[[int, int], object]


def create_backup(
    settings: Settings, target: Path, *, by_reference: bool = False, on_progress: OnProgress = lambda done, total: None
) -> Manifest:
    """Backs up the database, then the files that it names; raises BackupError and leaves nothing behind on failure.

    With `by_reference`, the weights of jobs that have ended stay where they are: the backup has their SHA-256 only.
    """
    target = target.absolute()
    check_source(settings)
    with _new_folder(settings, target):
        created_at = iso(now()) or ""
        database = dump(settings, target)
        total = sum(size_of(settings.runs_dir / job.id) for job in database.jobs)
        done = 0

        def on_bytes(count: int) -> None:
            nonlocal done
            done += count
            on_progress(done, max(done, total))

        files, notes = _copy_single_files(settings, target), list[str]()
        for job in database.jobs:
            run = RunFiles(
                settings.data_dir,
                settings.runs_dir / job.id,
                target / DATA,
                attempt=job.attempt,
                # Training that goes on deletes checkpoints and replaces components.
                by_reference=by_reference and job.state in TERMINAL_STATES,
                on_bytes=on_bytes,
            )
            files += run.copy()
            notes += run.notes
        with (target / database.file).open("rb") as file:
            size, digest = digest_of(file, lambda _: None)
        manifest = Manifest(
            version=version("mcn-fusion"),
            created_at=created_at,
            data_dir=str(settings.data_dir),
            jobs=len(database.jobs),
            database=Database(kind_of(settings), database.file, size, digest, database.revision),
            files=files,
            notes=notes,
        )
        sync_folders(target)
        manifest.write(target)
    return manifest


def _copy_single_files(settings: Settings, target: Path) -> list[BackedUpFile]:
    files = []
    for name in _SINGLE_FILES:
        if (settings.data_dir / name).is_file():
            with (settings.data_dir / name).open("rb") as file:
                files.append(BackedUpFile(name, *copy(file, target / DATA / name, lambda _: None)))
    return files


@contextmanager
def _new_folder(settings: Settings, target: Path) -> Iterator[None]:
    """Creates the folder, and removes what is in it if the backup fails. OSErrors become BackupErrors."""
    _check_folder(settings, target)
    existed = target.exists()
    try:
        target.mkdir(mode=0o700, exist_ok=True)
        yield
    except BaseException as error:
        _empty(target, remove=not existed)
        if not isinstance(error, OSError):
            raise
        if error.errno in NO_SPACE:
            raise BackupError(f"no space left for the backup {target}: use a larger disk") from None
        raise BackupError(f"{error.filename or target} cannot be backed up: {error.strerror}") from None


def _check_folder(settings: Settings, target: Path) -> None:
    """Raises BackupError unless the folder is empty or can be created."""
    try:
        if target.exists() and not target.is_dir():
            raise BackupError(f"{target} is a file: name a folder that is empty or not there yet", 2)
        if target.exists() and any(target.iterdir()):
            raise BackupError(f"{target} is not empty: name a folder that is empty or not there yet", 2)
        if target.resolve().is_relative_to(settings.runs_dir.resolve()):
            raise BackupError(f"{target} is in the folder of the runs: name a folder elsewhere", 2)
        if not target.parent.is_dir():
            raise BackupError(f"there is no folder {target.parent}: create it first", 2)
    except OSError as error:
        raise BackupError(f"{target} cannot be used: {error.strerror}", 2) from None


def _empty(folder: Path, *, remove: bool) -> None:
    for entry in [] if not folder.is_dir() else list(folder.iterdir()):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
    if remove and folder.is_dir():
        folder.rmdir()
