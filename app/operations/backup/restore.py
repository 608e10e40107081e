"""Restores a backup where there is nothing yet, after every file of it has been verified."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from app.db import make_engine, transaction, upgrade
from app.db.migrations import latest_revision, revisions
from app.operations.backup import queries
from app.operations.backup.copying import NO_SPACE, OnBytes, copy, digest_of, sync_folders
from app.operations.backup.databases import check_target, kind_of, load_postgres, sqlite_file
from app.operations.backup.manifest import DATA, BackedUpFile, BackupError, Manifest
from app.settings import Settings
from core.run.durable import sync_folder
from core.run.protocol import Claim, Outcome, OutcomeKind
from core.run.rundir import RunDir

# What a data folder may have without being in use: what a service makes again, and data sets.
_HARMLESS = {"api.log", "broker", "cache", "content", "data", "lost+found", "runs", "up.lock", "worker.log"}
# What no backup holds.
NOT_IN_BACKUP = ("data sets", "logs of the API and the worker", "caches", "output of Slurm submissions")
OnProgress = Callable[[int, int], object]


@dataclass(frozen=True)
class Restored:
    """What was restored. `upgraded_from` is the migration of the backup if newer ones were applied."""

    manifest: Manifest
    upgraded_from: str | None
    resuming: list[str]


def restore_backup(settings: Settings, source: Path, *, on_progress: OnProgress = lambda done, total: None) -> Restored:
    """Restores a backup into an empty data folder and database.

    Raises BackupError before anything is changed if that is not possible, or removes what it has written.
    """
    manifest = Manifest.read(source)
    _check_revision(manifest)
    _check_kind(settings, manifest)
    _check_data_dir(settings, manifest)
    check_target(settings)
    with _os_errors(f"the backup {source} cannot be read"):
        total = 2 * manifest.stored_bytes + sum(file.bytes for file in manifest.files if file.reference)
        done = 0

        def on_bytes(count: int) -> None:
            nonlocal done
            done += count
            on_progress(done, max(done, total))

        _verify(source, manifest, on_bytes)
    with _os_errors(f"{settings.data_dir} cannot be restored"):
        settings.make_folders()
        _check_space(settings, manifest)
        with _removed_on_failure() as written:
            _copy_files(settings, source, manifest, written, on_bytes)
            sync_folders(settings.runs_dir)
            attempts = _load_database(settings, source, manifest, written, on_bytes)
    is_older = manifest.database.revision != latest_revision()
    return Restored(manifest, manifest.database.revision if is_older else None, [job_id for job_id, _ in attempts])


def _check_revision(manifest: Manifest) -> None:
    if manifest.database.revision not in revisions():
        raise BackupError(
            f"the backup was made by a newer version (mcn {manifest.version}, database {manifest.database.revision}; "
            f"this version knows databases up to {latest_revision()}): upgrade mcn, then restore",
            2,
        )


def _check_kind(settings: Settings, manifest: Manifest) -> None:
    names = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
    kind, target = manifest.database.kind, kind_of(settings)
    if kind != target:
        remedy = "unset MCN_DATABASE_URL" if kind == "sqlite" else "set MCN_DATABASE_URL to an empty database of it"
        raise BackupError(
            f"the backup is of {names.get(kind, kind)}, and the settings name a database of {names[target]}: {remedy}",
            2,
        )


def _check_data_dir(settings: Settings, manifest: Manifest) -> None:
    """Raises BackupError if the data folder has anything that a backup could overwrite or mix with."""
    folder = settings.data_dir
    with _os_errors(f"the data folder {folder} cannot be used"):
        if not folder.exists():
            return
        if not folder.is_dir():
            raise BackupError(f"{folder} is a file: set MCN_DATA_DIR to a folder that is empty or not there yet")
        in_the_way = sorted(entry.name for entry in folder.iterdir() if not _is_harmless(entry.name))
        # Weights that were backed up by reference may be where they belong.
        referenced = {file.path for file in manifest.files if file.reference}
        in_the_way += sorted(
            str(path.relative_to(folder))
            for path in settings.runs_dir.rglob("*")
            if not path.is_dir() and str(path.relative_to(folder)) not in referenced
        )
    if in_the_way:
        named = ", ".join(in_the_way[:5]) + (f" and {len(in_the_way) - 5:,} more" if len(in_the_way) > 5 else "")
        raise BackupError(
            f"the data folder {folder} is not empty: {named} would be in the way; set MCN_DATA_DIR to an empty folder, "
            "or move them away"
        )


def _is_harmless(name: str) -> bool:
    # A worker that was killed leaves the socket of its warm process.
    return name in _HARMLESS or (name.startswith("warm-") and name.endswith(".sock"))


def _check_space(settings: Settings, manifest: Manifest) -> None:
    free = shutil.disk_usage(settings.data_dir).free
    if free < manifest.stored_bytes:
        raise BackupError(
            f"no space left in {settings.data_dir}: the backup has {manifest.stored_bytes / 1e9:,.1f} GB, and "
            f"{free / 1e9:,.1f} GB are free"
        )


def _verify(source: Path, manifest: Manifest, on_bytes: OnBytes) -> None:
    """Raises BackupError if a file of the backup, or one that it refers to, is missing or was changed."""
    database = manifest.database
    paths = [(source / database.file, database.bytes, database.sha256, False)]
    for file in manifest.files:
        if file.same_as is None:
            paths.append((_content(source, file), file.bytes, file.sha256, file.reference is not None))
    for path, size, digest, is_reference in paths:
        owner = "refers to" if is_reference else "is damaged:"
        remedy = "put it back" if is_reference else "use another backup"
        try:
            with path.open("rb") as content:
                actual = digest_of(content, on_bytes)
        except OSError as error:
            reason = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
            raise BackupError(f"the backup {owner} {path}, which {reason}: {remedy}", 2) from None
        if actual != (size, digest):
            raise BackupError(f"the backup {owner} {path}, which was changed (its SHA-256 differs): {remedy}", 2)


def _content(source: Path, file: BackedUpFile) -> Path:
    return Path(file.reference) if file.reference else source / DATA / file.path


def _copy_files(settings: Settings, source: Path, manifest: Manifest, written: list[Path], on_bytes: OnBytes) -> None:
    # Links come after what they link to.
    for file in sorted(manifest.files, key=lambda file: file.same_as is not None):
        target = settings.data_dir / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.same_as is not None:
            written.append(target)
            _link(settings.data_dir / file.same_as, target, on_bytes)
            continue
        content = _content(source, file)
        if target.exists() and target.samefile(content):
            continue
        written.append(target)
        if file.reference:
            _link(content, target, on_bytes)
            continue
        with content.open("rb") as opened:
            if copy(opened, target, on_bytes) != (file.bytes, file.sha256):
                raise BackupError(f"{content} changed while it was read: restore again", 1)


def _link(content: Path, target: Path, on_bytes: OnBytes) -> None:
    """A second name of a file that nobody changes; a copy where that is not possible."""
    try:
        os.link(content, target)
    except FileExistsError:
        raise
    except OSError:
        with content.open("rb") as opened:
            copy(opened, target, on_bytes)


def _load_database(
    settings: Settings, source: Path, manifest: Manifest, written: list[Path], on_bytes: OnBytes
) -> list[tuple[str, int]]:
    """Restores the database, applies newer migrations and detaches it from processes of the service it is from."""
    dump = source / manifest.database.file
    if manifest.database.kind == "postgresql":
        load_postgres(settings, dump)
        # Until it is dropped, the database belongs to these files.
        written.clear()
        return _finish(settings, settings.sqlalchemy_url)
    file = sqlite_file(settings)
    # Under its name only once it is complete: a service that finds no database makes one.
    draft = file.with_name(f".{file.name}.restoring")
    written += [draft, *(Path(f"{draft}-{suffix}") for suffix in ("wal", "shm", "journal"))]
    with dump.open("rb") as opened:
        copy(opened, draft, on_bytes)
    attempts = _finish(settings, f"sqlite:///{draft}")
    os.rename(draft, file)
    sync_folder(file.parent)
    return attempts


def _finish(settings: Settings, url: str) -> list[tuple[str, int]]:
    try:
        upgrade(url)
        engine = make_engine(url)
        with transaction(engine) as session:
            attempts = queries.detach_attempts(session)
        engine.dispose()
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise BackupError(f"the restored database cannot be upgraded: {reason}") from None
    for job_id, number in attempts:
        attempt = RunDir(settings.runs_dir / job_id).attempt(number)
        # A process that starts late, such as one that waited in Slurm's queue, finds the attempt claimed.
        attempt.claim.unlink(missing_ok=True)
        Claim.abandoned().try_claim(attempt)
        if Outcome.read(attempt) is None:
            # Then a worker of any name goes on with it at once, and this counts as no failure.
            Outcome(OutcomeKind.stopped, message="was running when the backup was made").write(attempt)
    return attempts


@contextmanager
def _removed_on_failure() -> Iterator[list[Path]]:
    """A list of written files, which are removed if the block fails."""
    written: list[Path] = []
    try:
        yield written
    except BaseException:
        for file in written:
            with suppress(OSError):
                file.unlink(missing_ok=True)
        raise


@contextmanager
def _os_errors(what: str) -> Iterator[None]:
    """OSErrors become BackupErrors."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            raise BackupError("no space left on the disk: what was written has been removed") from None
        raise BackupError(f"{what}: {error.strerror or error}") from None
