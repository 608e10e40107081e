"""Copies whose SHA-256 is computed on the way."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from core.run.durable import sync_folder

_BLOCK_BYTES = 1 << 20
# Called with the number of bytes that have been read since the last call.
OnBytes = Callable[[int], object]
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def copy(source: BinaryIO, target: Path, on_bytes: OnBytes) -> tuple[int, str]:
    """Copies an open file to a new one that only its owner may read; returns size and SHA-256 of what was copied.

    The target is flushed to disk. Of a file that grows meanwhile, it is complete up to where reading ended.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        while block := source.read(_BLOCK_BYTES):
            view = memoryview(block)
            while view:
                view = view[file.write(view) :]
            digest.update(block)
            size += len(block)
            on_bytes(len(block))
        os.fsync(descriptor)
    return size, digest.hexdigest()


def digest_of(source: BinaryIO, on_bytes: OnBytes) -> tuple[int, str]:
    """Size and SHA-256 of an open file."""
    digest, size = hashlib.sha256(), 0
    while block := source.read(_BLOCK_BYTES):
        digest.update(block)
        size += len(block)
        on_bytes(len(block))
    return size, digest.hexdigest()


def sync_folders(root: Path) -> None:
    """Flushes the entries of a folder and of all folders in it to disk."""
    for folder, _, _ in os.walk(root):
        sync_folder(Path(folder))
