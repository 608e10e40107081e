"""`mcn backup` and `mcn restore`."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from app.cli.arguments import AsJson
from app.cli.download import progress_bar
from app.cli.terminal import err, fail, out, print_json, settings
from app.jobs.wording import format_bytes


class Weights(StrEnum):
    """What a backup does with weights."""

    copy = "copy"
    reference = "reference"


def backup(
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="A folder that is empty or not there yet.")],
    weights: Annotated[
        Weights,
        typer.Option(
            metavar="CHOICE",
            help="copy, or reference: weights of jobs that have ended stay where they are, and only their path and "
            "SHA-256 are recorded.",
        ),
    ] = Weights.copy,
    as_json: AsJson = False,
) -> None:
    """Back up the database and the runs of this machine's service, while it runs and jobs train."""
    from app.operations.backup.create import create_backup

    by_reference = weights is Weights.reference
    configured = settings()
    with _failures(), progress_bar("backup", enabled=out.is_terminal and not as_json) as on_bytes:
        manifest = create_backup(configured, target, by_reference=by_reference, on_progress=on_bytes)
    summary = {
        "target": str(target),
        "version": manifest.version,
        "created_at": manifest.created_at,
        "database": manifest.database.kind,
        "revision": manifest.database.revision,
        "jobs": manifest.jobs,
        "files": len(manifest.files),
        "bytes": manifest.stored_bytes,
        "referenced_files": sum(file.reference is not None for file in manifest.files),
        "notes": list(manifest.notes),
    }
    if as_json:
        print_json(summary)
        return
    for note in manifest.notes:
        err.print(f"Note: {note}")
    out.print(f"{target}  {_jobs(manifest.jobs)}, {len(manifest.files):,} files, {format_bytes(manifest.stored_bytes)}")
    if summary["referenced_files"]:
        out.print(f"{summary['referenced_files']:,} files with weights are not in it: keep them where they are.")
    out.print("It holds the admin token: keep it where only you can read it. To restore it:")
    out.print(f"mcn restore {shlex.quote(str(target))}")


def restore(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="A folder that `mcn backup` wrote.")],
    as_json: AsJson = False,
) -> None:
    """Restore a backup into an empty data folder and database. Verifies all of it before it changes anything."""
    from app.operations.backup.restore import NOT_IN_BACKUP, restore_backup

    configured = settings()
    with _failures(), progress_bar("restore", enabled=out.is_terminal and not as_json) as on_bytes:
        restored = restore_backup(configured, source, on_progress=on_bytes)
    manifest = restored.manifest
    if as_json:
        print_json(
            {
                "source": str(source),
                "data_dir": str(configured.data_dir),
                "version": manifest.version,
                "created_at": manifest.created_at,
                "database": manifest.database.kind,
                "upgraded_from": restored.upgraded_from,
                "jobs": manifest.jobs,
                "files": len(manifest.files),
                "resuming": restored.resuming,
                "not_in_backup": list(NOT_IN_BACKUP),
                "notes": list(manifest.notes),
            }
        )
        return
    for note in manifest.notes:
        err.print(f"Note of the backup: {note}")
    out.print(
        f"Restored the backup of {manifest.created_at}: {_jobs(manifest.jobs)} and {len(manifest.files):,} files."
    )
    if restored.upgraded_from:
        out.print(f"The database was upgraded from {restored.upgraded_from}.")
    out.print(f"Not in the backup: {', '.join(NOT_IN_BACKUP)}.")
    if restored.resuming:
        out.print(f"{_jobs(len(restored.resuming))} will resume from the latest checkpoint once the service starts.")
    out.print("Tokens are those of the backup. Start the service with `mcn up`.")


def _jobs(number: int) -> str:
    return "1 job" if number == 1 else f"{number:,} jobs"


@contextmanager
def _failures() -> Iterator[None]:
    """A BackupError ends the command with its message and exit code."""
    from app.operations.backup.manifest import BackupError

    # Backups hold the admin token, and run directories are private.
    os.umask(0o077)
    try:
        yield
    except BackupError as error:
        fail(str(error), error.exit_code)
