"""The code of `core`: a digest of its files, and its import as a whole, so that what runs is what the digest is of."""

from __future__ import annotations

import hashlib
import pkgutil
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def code_digest() -> str:
    """SHA-256 over the files of `core` as they are now; they are read again only once one of them was written."""
    return _digest_of(PACKAGE, code_status([PACKAGE]))


def code_status(packages: Iterable[Path]) -> str:
    """Changes whenever a source file of these folders is written, added, removed or replaced. Takes a millisecond."""
    digest = hashlib.sha256()
    for file in (file for package in packages for file in sorted(package.rglob("*.py"))):
        # An upgrade may be removing it at this moment.
        with suppress(FileNotFoundError):
            status = file.stat()
            digest.update(f"{file}\t{status.st_size}\t{status.st_mtime_ns}\t{status.st_ino}\n".encode())
    return digest.hexdigest()


def import_all() -> None:
    """Imports every module of `core`, so that a file that is edited later changes nothing in this process.

    Libraries that a module imports only when it is used, such as torchvision, are not imported. It takes 20 ms where
    training has been imported.
    """
    for module in pkgutil.walk_packages([str(PACKAGE)], f"{PACKAGE.name}."):
        if not module.name.endswith("__main__"):
            import_module(module.name)


@lru_cache(maxsize=1)
def _digest_of(package: Path, _status: str) -> str:
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        with suppress(FileNotFoundError):
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            digest.update(f"{content}  {file.relative_to(package).as_posix()}\n".encode())
    return digest.hexdigest()
