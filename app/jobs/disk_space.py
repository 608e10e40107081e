"""Free disk space where jobs write, how little of it is too little to start another one, and the size of folders."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from app.settings import Settings

GB = 1e9
# Without MCN_MIN_FREE_GB, the smaller of the two.
DEFAULT_MIN_FREE_GB = 5.0
DEFAULT_MIN_FREE_SHARE = 0.02
# Starts that have been paused resume at this multiple, so that they do not stop and go around one value.
RESUME_FACTOR = 1.25


@dataclass(frozen=True)
class DiskSpace:
    """The space of one file system, in bytes; no job starts with less than `min_free` available."""

    free: int
    total: int
    min_free: float

    @property
    def is_low(self) -> bool:
        """Whether no job may start."""
        return self.free < self.min_free

    @property
    def has_recovered(self) -> bool:
        """Whether starts that were paused may resume."""
        return self.free >= self.resume_at

    @property
    def resume_at(self) -> float:
        """How much has to be free for that."""
        return RESUME_FACTOR * self.min_free


def disk_space(settings: Settings) -> DiskSpace:
    """The space of the data folder, or of the run directories if they are elsewhere and shorter of it.

    Raises OSError if a folder cannot be reached.
    """
    spaces = []
    for folder in (settings.data_dir, settings.runs_dir):
        usage = shutil.disk_usage(folder)
        default = min(DEFAULT_MIN_FREE_GB * GB, DEFAULT_MIN_FREE_SHARE * usage.total)
        min_free = default if settings.min_free_gb is None else settings.min_free_gb * GB
        spaces.append(DiskSpace(usage.free, usage.total, min_free))
    return min(spaces, key=lambda space: space.free - space.min_free)


def is_writable(folder: Path) -> bool:
    """Whether files can be created in a folder: not by others than its owner, nor on a disk that is read-only."""
    return os.access(folder, os.W_OK | os.X_OK)


def more_than_the_disk(min_free: float, total: float) -> str:
    """What to say where so much has to be free that no job can ever start; sizes in bytes."""
    return (
        f"MCN_MIN_FREE_GB requires {in_gb(min_free)} free on a disk of {in_gb(total)}, so no job can start: "
        "set it to less"
    )


def in_gb(size: float) -> str:
    """A size with one decimal: `3.1 GB`."""
    return f"{size / GB:,.1f} GB"


def disk_usage(folder: Path) -> int:
    """The bytes of all files below a folder; a file with several hard links counts once."""
    sizes: dict[int, int] = {}
    # Others may delete it meanwhile.
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                status = os.lstat(os.path.join(parent, name))
                sizes[status.st_ino] = status.st_size
    return sum(sizes.values())
