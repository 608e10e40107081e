"""Files that are complete or absent: written under a temporary name, flushed, renamed, and their folder flushed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _mode() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


_MODE = _mode()


class DamagedFileError(RuntimeError):
    """A file whose content is not what was written; the message names it."""

    def __init__(self, path: Path, why: str) -> None:
        self.path = path
        super().__init__(f"{path}: {why}")


def sync_folder(folder: Path) -> None:
    """Flushes the entries of a folder to disk, so that created and renamed files survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, write: Callable[[Path], object]) -> None:
    """Calls `write` with a temporary file beside `path`, flushes it and renames it to `path`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        # Some writers create files that only their owner may read; members of a group share components.
        os.chmod(temporary, _MODE)
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


class HashedFile:
    """A new file that computes the SHA-256 of its content while it is written.

    Given a path, torch.save holds the interpreter lock while it writes, which would stall training on another thread;
    given a Python file object such as this one, it does not.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self._digest = hashlib.sha256()
        self.failed: OSError | None = None

    def write(self, data: bytes | memoryview) -> int:
        """Writes all bytes and returns their number."""
        view = memoryview(data).cast("B")
        self._digest.update(view)
        written = 0
        try:
            while written < len(view):
                written += self._file.write(view[written:]) or 0
        except OSError as error:
            self.failed = error
            raise
        return written

    def flush(self) -> None:
        """Does nothing: writes are not buffered."""

    def close(self) -> str:
        """Closes the file and returns the SHA-256, in hexadecimal."""
        self._file.close()
        return self._digest.hexdigest()


def write_hashed(path: Path, write: Callable[[HashedFile], object]) -> str:
    """Writes a file as `write_durably` does, and returns its SHA-256 in hexadecimal."""
    digests: list[str] = []

    def fill(temporary: Path) -> None:
        file = HashedFile(temporary)
        try:
            write(file)
        except RuntimeError:
            # On a full disk torch.save raises an error about positions in its archive instead of the OSError.
            if file.failed is not None:
                raise file.failed from None
            raise
        finally:
            digests.append(file.close())

    write_durably(path, fill)
    return digests[0]


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _canonical(payload: dict[str, Any]) -> str:
    return json.dumps(payload, indent=1, sort_keys=True, allow_nan=False) + "\n"


def write_manifest(path: Path, payload: dict[str, Any]) -> None:
    """Writes a JSON manifest with a checksum of itself: `read_manifest` detects any changed byte."""
    digest = hashlib.sha256(_canonical(payload).encode()).hexdigest()
    write_durably(path, lambda file: file.write_text(_canonical({**payload, "manifest_sha256": digest})))


def read_manifest(path: Path) -> dict[str, Any]:
    """Reads what `write_manifest` wrote; raises DamagedFileError, or FileNotFoundError."""
    try:
        text = path.read_text()
        payload = json.loads(text)
        digest = payload.pop("manifest_sha256")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedFileError(path, f"is not a complete manifest ({error})") from None
    canonical = _canonical(payload)
    if hashlib.sha256(canonical.encode()).hexdigest() != digest or text != _canonical(
        {**payload, "manifest_sha256": digest}
    ):
        raise DamagedFileError(path, "does not match its own checksum")
    return dict(payload)


def read_json(path: Path) -> Any:
    """The JSON in a file that this program wrote; raises DamagedFileError for anything else."""
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise DamagedFileError(path, "does not contain the JSON that was written to it") from None


def verify_file(path: Path, *, sha256: str, size_bytes: int) -> None:
    """Raises DamagedFileError if the file has another size or SHA-256 (hexadecimal), or is missing."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise DamagedFileError(path, "is missing") from None
    if size != size_bytes:
        raise DamagedFileError(path, f"has {size:,} bytes instead of {size_bytes:,}")
    if sha256_of(path) != sha256:
        raise DamagedFileError(path, "was changed after it was written: its SHA-256 differs")
