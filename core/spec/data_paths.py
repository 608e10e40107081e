"""Paths of datasets: only regular files and folders below the configured data roots are ever read."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFDIR: "a folder",
}
_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
# Without O_NONBLOCK, opening a named pipe waits for its writer.
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


def find_path(path: str, data_roots: Sequence[Path]) -> Path:
    """The resolved path of a regular file or folder below one of the data roots.

    A relative path is looked up below each root in turn; symbolic links are followed as long as they stay below a root.
    Raises ValueError for any other path.
    """
    roots = [root.resolve() for root in data_roots]
    for root in roots:
        try:
            resolved = (root / path).resolve()
            if not resolved.is_relative_to(root) or not resolved.exists():
                continue
            mode = resolved.stat().st_mode
        except (OSError, RuntimeError, ValueError):
            continue
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise _not_regular(path, mode)
        return resolved
    allowed = ", ".join(str(root) for root in roots) or "none"
    raise ValueError(f"there is no data at {path} under the data roots ({allowed})")


def open_data_file(path: Path, data_roots: Sequence[Path]) -> BinaryIO:
    """Opens a regular file below the data roots for reading; raises ValueError for anything else.

    Never blocks, and checks what was really opened: every folder on the way is opened without following links, and the
    kind of file is read from its descriptor. Replacing a file or folder after its path was checked gains nothing.
    """
    resolved = find_path(str(path), data_roots)
    root = next(root for root in (root.resolve() for root in data_roots) if resolved.is_relative_to(root))
    try:
        descriptor = _open_below(root, resolved.relative_to(root).parts)
    except OSError as error:
        raise ValueError(f"{path} cannot be opened: {error.strerror}") from None
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise _not_regular(path, mode)
    return os.fdopen(descriptor, "rb")


def _open_below(root: Path, parts: Sequence[str]) -> int:
    folder = os.open(root, _FOLDER & ~os.O_NOFOLLOW)
    try:
        for part in parts[:-1]:
            inner = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(parts[-1] if parts else ".", _FILE, dir_fd=folder)
    finally:
        os.close(folder)


def _not_regular(path: object, mode: int) -> ValueError:
    kind = _KINDS.get(stat.S_IFMT(mode), "a special file")
    return ValueError(f"{path} is {kind}; data are read from regular files only: copy the data into one")
