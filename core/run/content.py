"""What a dataset contains, as a digest over all of its files: equal digests mean equal data, wherever they are.

A file is hashed once: its digest is kept by path, size, times and inode, in a folder that jobs and service share. The
signature of the whole dataset, over the statuses of all files, makes the second look at a folder of 100,000 files take
less than a second.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from core.run.data_files import DataFile, Listing, Parts, list_data_files

# A file that is written again within the resolution of its times (FAT: 2 s) would look unchanged: the status of a file
# that was this young when it was listed says nothing.
_SETTLED_S = 2.0
_NAMED_PARTS = 3
# Of the cache, which has two files for each dataset; a folder of 100,000 images takes some 20 MB.
_MAX_CACHE_FILES, _MAX_CACHE_BYTES = 512, 2 << 30


@dataclass(frozen=True)
class Content:
    """The content of a dataset: `sha256` over all parts (arrays of an .npz file, else files), and how much there is."""

    dataset: str
    sha256: str
    num_parts: int
    size_bytes: int

    def to_json(self) -> dict[str, Any]:
        """As it is stored."""
        return asdict(self)


@dataclass(frozen=True)
class ContentCache:
    """Digests that are known already, in files below a folder; without a folder nothing is kept.

    A folder that cannot be written, or a file that is damaged, costs time and nothing else. When there are too many
    files, those that were not used for the longest time are removed, whatever process wrote them.
    """

    folder: Path | None

    def read(self, listing: Listing) -> dict[str, Any] | None:
        """What was recorded about the dataset at this place the last time, changed or not."""
        text = self._read(self._key(listing) + ".json")
        try:
            row = json.loads(text or "null")
            return {name: row[name] for name in ("signature", "sha256", "num_parts", "size_bytes")}
        except (ValueError, TypeError, KeyError):  # a power failure may leave half a file
            return None

    def read_files(self, sha256: str) -> dict[str, tuple[str, Parts]]:
        """For every file of a content by name: its status when it was hashed, and the digests of its parts."""
        text = self._read(f"{sha256}.files")
        try:
            rows = [json.loads(line) for line in (text or "").splitlines()]
            return {status.partition("\t")[0]: (status, dict(parts)) for status, parts in rows}
        except (ValueError, TypeError, AttributeError):
            return {}

    def write(self, listing: Listing, content: Content, hashed: Iterable[tuple[DataFile, Parts]]) -> None:
        """Records the content of a dataset."""
        rows = [(file, parts, listing.listed_at - file.changed_at > _SETTLED_S) for file, parts in hashed]
        # Without a status the file is hashed again the next time; its parts still tell what a later content differs in.
        lines = [json.dumps([file.status if settled else f"{file.name}\t", parts]) for file, parts, settled in rows]
        self._write(f"{content.sha256}.files", "".join(f"{line}\n" for line in lines))
        if all(settled for _, _, settled in rows):
            row = content.to_json() | {"signature": listing.signature}
            self._write(self._key(listing) + ".json", json.dumps(row))

    def read_overlap(self, sha256: str) -> int | None:
        """How many test images of a content are training images too, if they have been counted."""
        text = self._read(f"{sha256}.overlap") or ""
        return int(text) if text.isdecimal() else None

    def write_overlap(self, sha256: str, count: int) -> None:
        """Records how many test images of a content are training images too."""
        self._write(f"{sha256}.overlap", str(count))

    def keep(self, sha256: str) -> None:
        """Notes that a content is still in use, although its files were not read."""
        self._mark_used(f"{sha256}.files")

    def _key(self, listing: Listing) -> str:
        return hashlib.sha256(os.fsencode(listing.root.absolute())).hexdigest()[:32]

    def _read(self, name: str) -> str | None:
        if self.folder is None:
            return None
        try:
            text = (self.folder / name).read_text()
        except (OSError, ValueError):
            return None
        self._mark_used(name)
        return text

    def _write(self, name: str, text: str) -> None:
        if self.folder is None:
            return
        draft = self.folder / f".{name}.{os.getpid()}.{time.monotonic_ns()}"
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                draft.write_text(text)
                os.replace(draft, self.folder / name)
            finally:
                draft.unlink(missing_ok=True)
            self._prune(self.folder)

    def _mark_used(self, name: str) -> None:
        """The modification time of a file is when it was last used: file systems seldom record when it was read."""
        if self.folder is not None:
            with suppress(OSError):
                os.utime(self.folder / name)

    def _prune(self, folder: Path) -> None:
        """Removes the files that were not used for the longest time, beyond the limits; drafts of ended processes too.

        Another process may do the same at this moment: a file that is gone is one less to remove, and a reader that
        misses one computes it again.
        """
        files: list[tuple[int, int, str]] = []
        with os.scandir(folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    if entry.is_file(follow_symlinks=False):
                        status = entry.stat()
                        files.append((status.st_mtime_ns, status.st_size, entry.path))
        num_files, size_bytes = len(files), sum(size for _, size, _ in files)
        # The last one was just written.
        for _, size, path in sorted(files)[:-1]:
            if num_files <= _MAX_CACHE_FILES and size_bytes <= _MAX_CACHE_BYTES:
                break
            with suppress(OSError):
                os.unlink(path)
            num_files, size_bytes = num_files - 1, size_bytes - size


def find_content(
    name: str,
    data_roots: Sequence[Path],
    cache: ContentCache,
    *,
    max_bytes: int | None = None,
    max_files: int | None = None,
    on_hashed: Callable[[], object] = lambda: None,
) -> Content | None:
    """The content of a dataset by its full name; None for a named dataset that is not available.

    None too where more than `max_bytes` would have to be read, if that is given. `on_hashed` is called now and then
    while many files are being hashed. Raises ValueError for data that cannot be read, and for more than `max_files`
    files.
    """
    listing = list_data_files(name, data_roots, max_files=max_files)
    return None if listing is None else content_of(name, listing, cache, max_bytes=max_bytes, on_hashed=on_hashed)


def content_of(
    name: str,
    listing: Listing,
    cache: ContentCache,
    *,
    max_bytes: int | None = None,
    on_hashed: Callable[[], object] = lambda: None,
) -> Content | None:
    """The content of listed files; see `find_content`."""
    known = cache.read(listing)
    if known is not None and known["signature"] == listing.signature:
        cache.keep(known["sha256"])
        return Content(name, known["sha256"], known["num_parts"], known["size_bytes"])
    earlier = cache.read_files(known["sha256"]) if known is not None else {}
    new = [file for file in listing.files if earlier.get(file.name, ("",))[0] != file.status]
    if max_bytes is not None and sum(file.size for file in new) > max_bytes:
        return None
    hashed = dict(zip((file.name for file in new), _hash_all(listing, new, on_hashed), strict=True))
    parts_of = {file.name: hashed.get(file.name) or earlier[file.name][1] for file in listing.files}
    parts = dict(chain.from_iterable(parts.items() for parts in parts_of.values()))
    content = Content(name, _digest(parts), len(parts), sum(file.size for file in listing.files))
    cache.write(listing, content, ((file, parts_of[file.name]) for file in listing.files))
    return content


def _hash_all(listing: Listing, files: Sequence[DataFile], on_hashed: Callable[[], object]) -> list[Parts]:
    if len(files) < 2:
        return [listing.hash_file(file) for file in files]
    # Reading and hashing release the interpreter lock.
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        chunk = max(1, min(256, len(files) // 32))
        chunks = [files[start : start + chunk] for start in range(0, len(files), chunk)]
        parts: list[Parts] = []
        for hashed in pool.map(lambda part: [listing.hash_file(file) for file in part], chunks):
            parts += hashed
            on_hashed()
        return parts


class _NotRecordedError(LookupError):
    """The parts of a content are not in the cache, or not all of them."""


def have_same_test_data(one: str, other: str, cache: ContentCache) -> bool:
    """Whether two contents, by their digests, have the same test data; False where that is not recorded.

    Where training and test data are one part, such as an .npz file without test images, any change may be in the test.
    """
    if one == other:
        return True
    try:
        return _have_same_test_parts(one, other, cache)
    except _NotRecordedError:
        return False


def count_test_files_in_training(sha256: str, cache: ContentCache) -> int | None:
    """How many test images of a content, an image folder, are training images too; None where that is not recorded.

    Counted once for each content: reading the digests of a million images takes seconds.
    """
    if (known := cache.read_overlap(sha256)) is not None:
        return known
    try:
        parts = _recorded_parts(sha256, cache)
    except _NotRecordedError:
        return None
    test = _test_parts(parts)
    training = {digest for name, digest in parts.items() if name not in test}
    count = sum(digest in training for digest in test.values())
    cache.write_overlap(sha256, count)
    return count


def describe_difference(before: str, now: str, cache: ContentCache) -> str:
    """Which files or arrays differ between two contents, by their digests; empty where that is not recorded."""
    try:
        return _describe_parts(before, now, cache)
    except _NotRecordedError:
        return ""


# A page compares many jobs, and a sweep many points, whose data are two contents in all. What these two functions
# return can never change; an error is not kept, and what is missing may be recorded later.
@lru_cache(maxsize=256)
def _have_same_test_parts(one: str, other: str, cache: ContentCache) -> bool:
    first, second = (_test_parts(_recorded_parts(sha256, cache)) for sha256 in (one, other))
    return bool(first) and first == second


@lru_cache(maxsize=256)
def _describe_parts(before: str, now: str, cache: ContentCache) -> str:
    old, new = (_recorded_parts(sha256, cache) for sha256 in (before, now))
    groups: Mapping[str, list[str]] = {
        "changed": sorted(name for name in old.keys() & new.keys() if old[name] != new[name]),
        "removed": sorted(old.keys() - new.keys()),
        "added": sorted(new.keys() - old.keys()),
    }
    return ", ".join(f"{_names(names)} {verb}" for verb, names in groups.items() if names)


def _test_parts(parts: Parts) -> Parts:
    names = {"test_images", "test_labels", "test", "test_batch"} & parts.keys()
    if any(name.startswith("train/") for name in parts):
        folder = "test/" if any(name.startswith("test/") for name in parts) else "val/"
        names |= {name for name in parts if name.startswith(folder)}
    return {name: parts[name] for name in names}


def _recorded_parts(sha256: str, cache: ContentCache) -> Parts:
    """The digests of all parts of a content; raises _NotRecordedError unless they give its digest."""
    parts = dict(chain.from_iterable(parts.items() for _, parts in cache.read_files(sha256).values()))
    if not parts or _digest(parts) != sha256:
        raise _NotRecordedError(sha256)
    return parts


def _digest(parts: Parts) -> str:
    digest = hashlib.sha256()
    for part in sorted(parts):
        digest.update(f"{parts[part]}  {part}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMED_PARTS])
    more = len(names) - _NAMED_PARTS
    return f"{shown} and {more:,} more" if more > 0 else shown
