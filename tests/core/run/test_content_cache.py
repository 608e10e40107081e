"""The cache of the digests of data sets: bounded, shared by processes, and never needed."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.run import data_files
from tests.core.run.datasets import content, write_folder


def write_array(root: Path, number: int) -> str:
    np.savez(root / f"{number}.npz", images=np.full((2, 8, 8), number, np.uint8), labels=np.arange(2))
    return f"npz:{number}.npz"


def age_cache(cache: Path, seconds: int = 1_000) -> None:
    """Makes everything in the cache older, as if time had passed."""
    for file in cache.iterdir():
        used_ns = file.stat().st_mtime_ns - seconds * 10**9
        os.utime(file, ns=(used_ns, used_ns))


@pytest.mark.usefixtures("settled")
def test_the_datasets_that_were_not_used_for_the_longest_time_leave_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.run.content._MAX_CACHE_FILES", 4)
    cache = tmp_path / "cache"
    names = [write_array(tmp_path, number) for number in range(3)]
    digests = []
    for name in (names[0], names[1], names[0], names[2]):
        digests.append(content(name, tmp_path, cache).sha256)
        age_cache(cache)
    # The second was used before the first was looked up again.
    assert {file.stem for file in cache.glob("*.files")} == {digests[0], digests[3]}
    assert len(list(cache.glob("*.json"))) == 2
    # A removed entry costs time and nothing else.
    assert content(names[1], tmp_path, cache).sha256 == digests[1]


@pytest.mark.usefixtures("settled")
def test_the_cache_is_bounded_in_bytes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.run.content._MAX_CACHE_BYTES", 1)
    for number in range(3):
        content(write_array(tmp_path, number), tmp_path, tmp_path / "cache")
    # However small the limit, what was just written stays.
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.usefixtures("settled")
def test_a_draft_of_a_process_that_was_killed_leaves_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.run.content._MAX_CACHE_FILES", 2)
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / ".abc.json.1.2").write_text("half")
    age_cache(cache)
    content(write_array(tmp_path, 0), tmp_path, cache)
    assert sorted(file.suffix for file in cache.iterdir()) == [".files", ".json"]


@pytest.mark.usefixtures("settled")
def test_processes_can_prune_the_same_cache_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.run.content._MAX_CACHE_FILES", 3)
    cache = tmp_path / "cache"
    names = [write_array(tmp_path, number) for number in range(8)]
    expected = [content(name, tmp_path).sha256 for name in names]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda name: content(name, tmp_path, cache).sha256, names * 8))
    assert found == expected * 8
    content(names[0], tmp_path, cache)
    assert len(list(cache.iterdir())) <= 3


@pytest.mark.usefixtures("settled")
def test_a_damaged_cache_costs_only_time(tmp_path: Path) -> None:
    write_folder(tmp_path)
    first = content("imagefolder:pets", tmp_path, tmp_path / "cache")
    for file in (tmp_path / "cache").iterdir():
        file.write_text("")
    assert content("imagefolder:pets", tmp_path, tmp_path / "cache") == first


def with_coarse_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the times of files even seconds and leaves them only one, as FAT does."""
    real = data_files._data_file

    def coarse(*arguments: Any, **options: Any) -> data_files.DataFile:
        file = real(*arguments, **options)
        tick = file.mtime_ns // (2 * 10**9) * 2 * 10**9
        return replace(file, mtime_ns=tick, ctime_ns=tick)

    monkeypatch.setattr(data_files, "_data_file", coarse)


def test_a_file_that_changes_twice_within_the_resolution_of_its_times_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_coarse_times(monkeypatch)
    folder, now = write_folder(tmp_path), time.time()
    for image in folder.rglob("*.png"):
        os.utime(image, (now - 100, now - 100))
    first = content("imagefolder:pets", tmp_path, tmp_path / "cache")
    file = folder / "train/cat/1.png"
    # All of this happens before the times can be others, however slow the machine is.
    monkeypatch.setattr(time, "time", lambda: now)
    os.utime(file, (now, now))
    assert content("imagefolder:pets", tmp_path, tmp_path / "cache") == first
    file.write_bytes(file.read_bytes()[::-1])
    os.utime(file, (now, now))
    assert content("imagefolder:pets", tmp_path, tmp_path / "cache").sha256 != first.sha256


def test_a_file_is_as_young_as_it_was_when_it_was_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashing may take minutes; a change in the first second of them would not show in the times."""
    with_coarse_times(monkeypatch)
    folder, now = write_folder(tmp_path), time.time()
    real = data_files._hash_in_folder

    def hash_slowly(file: data_files.DataFile, roots: list[Path]) -> data_files.Parts:
        monkeypatch.setattr(time, "time", lambda: now + 3600)
        return real(file, roots)

    monkeypatch.setattr(data_files, "_hash_in_folder", hash_slowly)
    first = content("imagefolder:pets", tmp_path, tmp_path / "cache")
    file = folder / "train/cat/1.png"
    status = file.stat()
    file.write_bytes(file.read_bytes()[::-1])
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert content("imagefolder:pets", tmp_path, tmp_path / "cache").sha256 != first.sha256
