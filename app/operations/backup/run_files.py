"""The files of one run directory, copied while the run may go on.

The copy is one from which training can resume, as after a crash: no file of it is newer than another one that has to
know of it. Results are copied first: if there are any, all else is final. Components are copied after checkpoints,
since resuming repeats the steps in between, and event logs last, since they tell which components there are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

from app.operations.backup.copying import OnBytes, copy, digest_of
from app.operations.backup.manifest import BackedUpFile

# Checkpoints and components may be replaced while they are copied; then they are copied again, up to this often.
_TRIES = 10
_WEIGHTS = ("checkpoints", "components")


class RunFiles:
    """Copies the run directory `folder` of the data folder to the same path below `target`.

    Attempts after `attempt`, which the copied database does not know, are left out. With `by_reference`, weights are
    not copied.
    """

    def __init__(
        self, data_dir: Path, folder: Path, target: Path, *, attempt: int, by_reference: bool, on_bytes: OnBytes
    ) -> None:
        self._data_dir = data_dir
        self._folder = folder
        self._target = target
        self._attempt = attempt
        self._by_reference = by_reference
        self._on_bytes = on_bytes
        self._files: dict[str, BackedUpFile] = {}
        # By device and inode: a component has two names.
        self._inodes: dict[tuple[int, int], str] = {}
        self._vanished: set[str] = set()
        self._unknown_attempts: set[str] = set()
        self.notes: list[str] = []

    def copy(self) -> list[BackedUpFile]:
        """Copies all files and returns them."""
        name = self._folder.name
        if not self._folder.is_dir():
            return []
        self._copy_all(_is_result)
        self._copy_checkpoints()
        for _ in range(_TRIES):
            self._forget("components")
            before = self._component_manifests()
            self._copy_all(_is_component)
            self._copy_all(_is_other)
            if self._component_manifests() == before:
                break
        else:
            self.notes.append(f"{name}: its components changed each time they were copied: back up again later")
        if self._unknown_attempts:
            self.notes.append(
                f"{name}: started again after the database was copied, which may name components that have been "
                "replaced since: back up again"
            )
        if not self._folder.is_dir():
            self.notes.append(f"{name}: was deleted while it was copied")
        elif vanished := sorted(path for path in self._vanished if path not in self._files):
            self.notes.append(f"{name}: vanished while it was copied: {', '.join(vanished[:5])}")
        return self.copied

    @property
    def copied(self) -> list[BackedUpFile]:
        """What has been copied."""
        return list(self._files.values())

    def _copy_all(self, chosen: Callable[[PurePosixPath], bool]) -> None:
        for path in _walk(self._folder, PurePosixPath()):
            if chosen(path) and not self._is_unknown_attempt(path):
                try:
                    descriptor = os.open(self._folder / path, os.O_RDONLY)
                except FileNotFoundError:
                    self._vanished.add(self._name(path))
                else:
                    self._keep(path, descriptor)

    def _copy_checkpoints(self) -> None:
        """Copies complete checkpoints, newest first; tries again if training has replaced all of them meanwhile."""
        for _ in range(_TRIES):
            folders = sorted(_folders(self._folder / "checkpoints"), reverse=True)
            copied = [self._copy_checkpoint(PurePosixPath("checkpoints", name)) for name in folders]
            if not folders or any(copied):
                return
        self.notes.append(f"{self._folder.name}: no checkpoint was complete: it will start from the beginning")

    def _copy_checkpoint(self, path: PurePosixPath) -> bool:
        """Opens all files of a checkpoint first: they can be read to the end even if training deletes it."""
        with ExitStack() as opened:
            try:
                folder = os.open(self._folder / path, os.O_RDONLY | os.O_DIRECTORY)
                opened.callback(os.close, folder)
                names = sorted(os.listdir(folder))
                descriptors = {name: os.open(name, os.O_RDONLY, dir_fd=folder) for name in names}
            except FileNotFoundError:
                return False
            if "manifest.json" not in names or len(names) < 2:
                for descriptor in descriptors.values():
                    os.close(descriptor)
                return False
            for name, descriptor in descriptors.items():
                self._keep(path / name, descriptor)
        return True

    def _keep(self, path: PurePosixPath, descriptor: int) -> None:
        name = self._name(path)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            status = os.fstat(descriptor)
            inode = (status.st_dev, status.st_ino)
            first = self._files.get(self._inodes.get(inode, ""))
            if first is not None and first.path != name and status.st_nlink > 1:
                self._files[name] = BackedUpFile(name, first.bytes, first.sha256, same_as=first.path)
                return
            if self._by_reference and path.parts[0] in _WEIGHTS and path.suffix in (".pth", ".safetensors"):
                size, digest = digest_of(file, self._on_bytes)
                reference = str((self._folder / path).resolve())
                self._files[name] = BackedUpFile(name, size, digest, reference=reference)
            else:
                size, digest = copy(file, self._target / name, self._on_bytes)
                self._files[name] = BackedUpFile(name, size, digest)
            self._inodes[inode] = name

    def _forget(self, folder: str) -> None:
        prefix = self._name(PurePosixPath(folder)) + "/"
        for name in [name for name in self._files if name.startswith(prefix)]:
            del self._files[name]
            (self._target / name).unlink(missing_ok=True)
        self._inodes = {inode: name for inode, name in self._inodes.items() if name in self._files}

    def _component_manifests(self) -> dict[str, bytes]:
        contents = {}
        for file in (self._folder / "components").glob("*.json"):
            try:
                contents[file.name] = file.read_bytes()
            except FileNotFoundError:
                contents[file.name] = b""
        return contents

    def _is_unknown_attempt(self, path: PurePosixPath) -> bool:
        prefix, _, number = path.parts[0].partition("-")
        is_unknown = prefix == "attempt" and number.isdecimal() and int(number) > self._attempt
        if is_unknown:
            self._unknown_attempts.add(number)
        return is_unknown

    def _name(self, path: PurePosixPath) -> str:
        return str(PurePosixPath(*self._folder.relative_to(self._data_dir).parts) / path)


def _is_result(path: PurePosixPath) -> bool:
    first = path.parts[0]
    return first in ("result.json", "predictions") or (first.startswith("attempt-") and path.name.startswith("outcome"))


def _is_component(path: PurePosixPath) -> bool:
    return path.parts[0] == "components"


def _is_other(path: PurePosixPath) -> bool:
    return path.parts[0] not in _WEIGHTS and not _is_result(path)


def _walk(root: Path, folder: PurePosixPath) -> Iterator[PurePosixPath]:
    """The files below a folder, before those of its subfolders; without hidden ones, which are drafts, and links."""
    try:
        entries = sorted(os.scandir(root / folder), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    entries = [entry for entry in entries if not entry.name.startswith(".")]
    yield from (folder / entry.name for entry in entries if entry.is_file(follow_symlinks=False))
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(root, folder / entry.name)


def _folders(parent: Path) -> list[str]:
    try:
        return [entry.name for entry in os.scandir(parent) if entry.is_dir() and not entry.name.startswith(".")]
    except FileNotFoundError:
        return []


def size_of(folder: Path) -> int:
    """The size of all files of a run directory at the moment."""
    total = 0
    for path in _walk(folder, PurePosixPath()):
        try:
            total += (folder / path).stat().st_size
        except FileNotFoundError:
            continue
    return total
