"""The files of a dataset, and how each is hashed. Needs neither torch nor numpy: the service compares data too."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.util import find_spec
from itertools import chain, islice
from pathlib import Path
from typing import IO

from core.spec.catalogue import DATASET_FACTS
from core.spec.data_paths import find_path, open_data_file

# The arrays of an .npz file that a dataset may have.
ARRAYS = ("images", "labels", "test_images", "test_labels", "class_names")
# Of all arrays of a file together, uncompressed.
MAX_ARRAY_BYTES = 4 << 30
# Compressed image data shrink at most tenfold; files that inflate further are bombs. Small files are always read.
MAX_INFLATION = 100
ALWAYS_ALLOWED_BYTES = 64 << 20
# As torchvision's ImageFolder, which ignores all other files; a test compares them.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
# What torchvision reads of CIFAR-10 and CIFAR-100.
_CIFAR_FILE = re.compile(r"data_batch_[1-5]|test_batch|batches\.meta|train|test|meta")
_MAX_DEPTH = 64

Parts = dict[str, str]


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file of a dataset: its path relative to the dataset, and what its status says about it."""

    name: str
    path: str
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    # Whether it was reached without a symbolic link.
    direct: bool = True

    @property
    def status(self) -> str:
        """One line that changes whenever the file is written, moved or replaced."""
        return f"{self.name}\t{self.size}\t{self.mtime_ns}\t{self.ctime_ns}\t{self.inode}"

    @property
    def changed_at(self) -> float:
        """When it was last written, moved or replaced, in seconds since the epoch."""
        return max(self.mtime_ns, self.ctime_ns) / 1e9


@dataclass(frozen=True)
class Listing:
    """The files of a dataset in the order of their names; `hash_file` gives the SHA-256 of each part of a file.

    `listed_at` is when their statuses began to be read, in seconds since the epoch.
    """

    root: Path
    files: tuple[DataFile, ...]
    hash_file: Callable[[DataFile], Parts]
    listed_at: float

    @cached_property
    def signature(self) -> str:
        """SHA-256 over the names and statuses of all files: equal as long as nobody has written to them."""
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(f"{file.status}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


def list_data_files(name: str, data_roots: Sequence[Path], *, max_files: int | None = None) -> Listing | None:
    """The files of a dataset by its full name, such as `npz:digits.npz`; None for a named one that is not available.

    Raises ValueError for a path that is not below the data roots, and for more than `max_files` files.
    """
    kind, _, path = name.partition(":")
    roots = tuple(data_roots)
    if kind == "digits":
        return _single(digits_file(), _hash_whole)
    if kind == "npz":
        return _single(find_path(path, roots), lambda file: _hash_arrays(file, roots))
    if kind == "imagefolder":
        return _folder(find_path(path, roots), roots, lambda name: name.lower().endswith(IMAGE_SUFFIXES), max_files)
    location = find_named_dataset(name, roots)
    if location is None:
        return None
    if location.is_dir():
        return _folder(location, roots, lambda name: _CIFAR_FILE.fullmatch(name) is not None)
    return _single(location, _hash_members)


def find_named_dataset(name: str, data_roots: Sequence[Path]) -> Path | None:
    """The folder of a named dataset, or the archive that it can be unpacked from, below the first root that has it."""
    facts = DATASET_FACTS[name]
    assert facts.folder is not None
    assert facts.archive is not None
    for root in data_roots:
        if (root / facts.folder).is_dir():
            return root / facts.folder
        if (root / facts.archive).is_file():
            return root / facts.archive
    return None


@lru_cache(maxsize=1)
def digits_file() -> Path:
    """The file of scikit-learn's load_digits, without importing scikit-learn, which takes two seconds."""
    package = find_spec("sklearn")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"


def _single(path: Path, hash_file: Callable[[DataFile], Parts]) -> Listing:
    listed_at = time.time()
    try:
        file = _data_file(path.name, str(path), path.stat(), direct=False)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    return Listing(path, (file,), hash_file, listed_at)


def _folder(
    root: Path, data_roots: Sequence[Path], is_data: Callable[[str], bool], max_files: int | None = None
) -> Listing:
    listed_at = time.time()
    walks = [_walk(str(folder), is_data, prefix) for folder, prefix in _used_folders(root)]
    try:
        files = list(islice(chain(*walks), None if max_files is None else max_files + 1))
    except OSError as error:
        raise ValueError(f"{error.filename} cannot be read: {error.strerror}") from None
    if max_files is not None and len(files) > max_files:
        raise ValueError(f"{root} has more than {max_files:,} files")
    files.sort(key=lambda file: file.name)
    return Listing(root, tuple(files), lambda file: _hash_in_folder(file, data_roots), listed_at)


def _used_folders(root: Path) -> list[tuple[Path, str]]:
    """The folders that a dataset is read from, with the prefixes of their files: what lies beside them says nothing."""
    test = find_test_folder(root)
    return [(root, "")] if test is None else [(root / "train", "train/"), (test, f"{test.name}/")]


def find_test_folder(root: Path) -> Path | None:
    """`test`, or else `val`, beside `train`; None where a test set has to be held out."""
    if not (root / "train").is_dir():
        return None
    return next((root / name for name in ("test", "val") if (root / name).is_dir()), None)


def _walk(
    folder: str, is_data: Callable[[str], bool], prefix: str = "", depth: int = 0, *, direct: bool = True
) -> Iterator[DataFile]:
    if depth > _MAX_DEPTH:
        raise ValueError(f"{folder} is more than {_MAX_DEPTH} folders deep: does a symbolic link lead back up?")
    with os.scandir(folder) as entries:
        for entry in entries:
            is_direct = direct and not entry.is_symlink()
            if entry.is_dir():
                yield from _walk(entry.path, is_data, f"{prefix}{entry.name}/", depth + 1, direct=is_direct)
            elif is_data(entry.name):
                yield _data_file(prefix + entry.name, entry.path, entry.stat(), direct=is_direct)


def _data_file(name: str, path: str, status: os.stat_result, *, direct: bool) -> DataFile:
    return DataFile(
        name, path, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, direct
    )  # fmt: skip


def _sha256(file: IO[bytes]) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def _hash_whole(file: DataFile) -> Parts:
    with open(file.path, "rb") as source:
        return {file.name: _sha256(source)}


def _hash_in_folder(file: DataFile, data_roots: Sequence[Path]) -> Parts:
    """Only regular files below the data roots are read; the usual case does not look at every folder again."""
    if not file.direct:
        with open_data_file(Path(file.path), data_roots) as source:
            return {file.name: _sha256(source)}
    try:
        descriptor = os.open(file.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise ValueError(f"{file.path} cannot be read: {error.strerror}") from None
    with os.fdopen(descriptor, "rb") as source:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError(f"{file.path} is not a regular file: remove it from the dataset")
        return {file.name: _sha256(source)}


def _hash_members(file: DataFile) -> Parts:
    """The files in an archive, as they are named in the folder that it unpacks to."""
    parts: Parts = {}
    try:
        with tarfile.open(file.path) as archive:
            for member in archive:
                name = member.name.partition("/")[2] or member.name
                source = archive.extractfile(member) if member.isfile() and _CIFAR_FILE.fullmatch(name) else None
                if source is not None:
                    parts[name] = _sha256(source)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ValueError(f"{file.path} cannot be read as an archive: {error}") from None
    return parts


def _hash_arrays(file: DataFile, data_roots: Sequence[Path]) -> Parts:
    """The arrays of an .npz file, whether or not they are compressed."""
    with open_data_file(Path(file.path), data_roots) as source:
        try:
            with zipfile.ZipFile(source) as archive:
                stored = set(archive.namelist())
                members = {name: archive.getinfo(f"{name}.npy") for name in ARRAYS if f"{name}.npy" in stored}
                _check_sizes(file, list(members.values()))
                return {name: _hash_array(archive, member) for name, member in members.items()}
        except ValueError:
            raise
        except Exception as error:  # a damaged archive raises many types of errors
            raise ValueError(f"{file.path} cannot be read as an .npz file: {error}") from None


def _hash_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> str:
    with archive.open(member) as stream:
        return _sha256(stream)


def _check_sizes(file: DataFile, members: Sequence[zipfile.ZipInfo]) -> None:
    if any(member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in members):
        raise ValueError(f"{file.path} is compressed in another way than by numpy: save it with numpy.savez_compressed")
    total = sum(member.file_size for member in members)
    limit = min(MAX_ARRAY_BYTES + (1 << 20), max(ALWAYS_ALLOWED_BYTES, MAX_INFLATION * file.size))
    if total > limit:
        raise ValueError(
            f"the arrays of {file.path} take {total:,} bytes in memory; at most {limit:,} are allowed for a file of "
            f"{file.size:,} bytes (docs/spec.md)"
        )
