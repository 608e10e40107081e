"""What a backup consists of: a folder whose `manifest.json`, written last, lists every file with its SHA-256.

`database.sqlite` or `database.dump` is the database, and `data/` holds files of the data folder under their own paths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Self

from core.run.durable import DamagedFileError, read_manifest, write_manifest

FORMAT = 1
MANIFEST = "manifest.json"
DATA = "data"


class BackupError(Exception):
    """A backup cannot be made or restored. The message says why and what to do; `exit_code` is as in docs/cli.md."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True)
class BackedUpFile:
    """A file of the data folder, by its path there.

    With `same_as`, it is a link to the file with that path. With `reference`, the backup has no copy of it: it stays
    where it was, at that absolute path.
    """

    path: str
    bytes: int
    sha256: str
    same_as: str | None = None
    reference: str | None = None

    @property
    def is_stored(self) -> bool:
        """Whether the backup itself holds the content."""
        return self.same_as is None and self.reference is None


@dataclass(frozen=True)
class Database:
    """The file of the database in the backup; `kind` is `sqlite` or `postgresql`, `revision` its latest migration."""

    kind: str
    file: str
    bytes: int
    sha256: str
    revision: str


@dataclass(frozen=True)
class Manifest:
    """A complete backup. `notes` says what changed or vanished while it was made."""

    version: str
    created_at: str
    data_dir: str
    jobs: int
    database: Database
    files: Sequence[BackedUpFile]
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def stored_bytes(self) -> int:
        """The size of all files in the backup."""
        return self.database.bytes + sum(file.bytes for file in self.files if file.is_stored)

    def write(self, folder: Path) -> None:
        """Completes a backup."""
        content = {**asdict(self), "files": [_without_nulls(asdict(file)) for file in self.files]}
        write_manifest(folder / MANIFEST, {"format": FORMAT, **content, "notes": list(self.notes)})

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The manifest of a backup; raises BackupError if the folder is not a complete backup."""
        try:
            if not folder.exists():
                raise BackupError(f"there is no backup {folder}: name a folder that `mcn backup` wrote", 2)
            content = read_manifest(folder / MANIFEST)
        except (FileNotFoundError, NotADirectoryError):
            raise BackupError(
                f"{folder} is not a complete backup: it has no {MANIFEST}, which `mcn backup` writes last", 2
            ) from None
        except (DamagedFileError, OSError, RecursionError) as error:
            if isinstance(error, OSError):
                raise BackupError(f"the backup {folder} cannot be read: {error.strerror}", 2) from None
            raise BackupError(f"the backup {folder} is damaged ({error}): use another one", 2) from None
        if content.pop("format", None) != FORMAT:
            raise BackupError(f"{folder} is not a backup that this version of mcn can read: use a newer version", 2)
        try:
            return cls._from_json(content)
        except (TypeError, ValueError, KeyError):
            raise BackupError(f"{folder} is not a backup: its {MANIFEST} is one of something else", 2) from None

    @classmethod
    def _from_json(cls, content: dict[str, Any]) -> Self:
        database = Database(**content.pop("database"))
        files = [BackedUpFile(**file) for file in content.pop("files")]
        for path in (database.file, *(file.path for file in files)):
            _check_path(path)
        return cls(database=database, files=files, **content)


def _check_path(path: str) -> None:
    """Raises ValueError for a path that leads out of its folder."""
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or not parts.parts:
        raise ValueError(path)


def _without_nulls(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
