"""Equal data have equal digests wherever and however they are stored; changed data are noticed, and named."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torchvision.datasets.folder import IMG_EXTENSIONS

from core.run import data_files
from core.run.content import (
    ContentCache,
    count_test_files_in_training,
    describe_difference,
    find_content,
    have_same_test_data,
)
from core.spec.dataset import DATASET_KINDS
from tests.core.run.datasets import content, count_hashes, write_folder


@pytest.mark.parametrize("name", [name for name, kind in DATASET_KINDS.items() if not kind.takes_path])
def test_every_named_dataset_has_content_or_is_missing(name: str, tmp_path: Path) -> None:
    found = find_content(name, [tmp_path], ContentCache(None))
    assert (found is not None) == (name == "digits")


def test_the_same_arrays_have_one_digest_compressed_or_not(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {"images": np.arange(320, dtype=np.uint8).reshape(5, 8, 8), "labels": np.arange(5)}
    np.savez(tmp_path / "a.npz", **arrays)
    np.savez_compressed(tmp_path / "b.npz", **arrays, unrelated=np.arange(3))
    assert content("npz:a.npz", tmp_path).sha256 == content("npz:b.npz", tmp_path).sha256


@pytest.mark.usefixtures("settled")
def test_a_changed_array_is_named(tmp_path: Path) -> None:
    images = np.arange(320, dtype=np.uint8).reshape(5, 8, 8)
    np.savez(tmp_path / "a.npz", images=images, labels=np.arange(5))
    before = content("npz:a.npz", tmp_path, tmp_path / "cache")
    images[2, 1, 1] ^= 1
    np.savez(tmp_path / "a.npz", images=images, labels=np.arange(5))
    now = content("npz:a.npz", tmp_path, tmp_path / "cache")
    assert before.sha256 != now.sha256
    assert describe_difference(before.sha256, now.sha256, ContentCache(tmp_path / "cache")) == "images changed"


def test_an_archive_has_the_digest_of_the_folder_that_it_unpacks_to(tmp_path: Path) -> None:
    folder = tmp_path / "one" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name in ("data_batch_1", "test_batch"):
        (folder / name).write_text(name)
    (tmp_path / "two").mkdir()
    with tarfile.open(tmp_path / "two" / "cifar-10-python.tar.gz", "w:gz") as archive:
        archive.add(folder, folder.name)
    assert content("cifar10", tmp_path / "one").sha256 == content("cifar10", tmp_path / "two").sha256


@pytest.mark.usefixtures("settled")
def test_only_files_that_were_written_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_folder(tmp_path)
    hashed = count_hashes(monkeypatch)
    first = content("imagefolder:pets", tmp_path, tmp_path / "cache")
    assert len(hashed) == 10
    hashed.clear()
    assert content("imagefolder:pets", tmp_path, tmp_path / "cache") == first
    assert hashed == []
    (folder / "train/cat/1.png").touch()
    assert content("imagefolder:pets", tmp_path, tmp_path / "cache") == first
    assert hashed == ["train/cat/1.png"]


@pytest.mark.usefixtures("settled")
def test_changed_removed_and_added_files_are_named(tmp_path: Path) -> None:
    folder, cache = write_folder(tmp_path), ContentCache(tmp_path / "cache")
    first = content("imagefolder:pets", tmp_path, tmp_path / "cache")
    (folder / "train/cat/1.png").write_text("other")
    (folder / "train/dog/0.png").unlink()
    (folder / "test/dog/9.png").write_text("new")
    (folder / "notes.txt").write_text("not an image")
    second = content("imagefolder:pets", tmp_path, tmp_path / "cache")
    assert describe_difference(first.sha256, second.sha256, cache) == (
        "train/cat/1.png changed, train/dog/0.png removed, test/dog/9.png added"
    )


@pytest.mark.usefixtures("settled")
def test_a_change_that_keeps_size_and_modification_time_is_noticed(tmp_path: Path) -> None:
    file = write_folder(tmp_path) / "train/cat/1.png"
    first = content("imagefolder:pets", tmp_path, tmp_path / "cache")
    status = file.stat()
    file.write_bytes(file.read_bytes()[::-1])
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert content("imagefolder:pets", tmp_path, tmp_path / "cache").sha256 != first.sha256


def test_files_that_have_just_been_written_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another write within the resolution of the file system's clock would leave no trace."""
    monkeypatch.setattr("core.run.content._SETTLED_S", 3600.0)
    write_folder(tmp_path)
    content("imagefolder:pets", tmp_path, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.json"))


@pytest.mark.usefixtures("settled")
def test_more_than_the_limit_is_not_read(tmp_path: Path) -> None:
    write_folder(tmp_path)
    cache = ContentCache(tmp_path / "cache")
    assert find_content("imagefolder:pets", [tmp_path], cache, max_bytes=10) is None
    known = find_content("imagefolder:pets", [tmp_path], cache)
    assert find_content("imagefolder:pets", [tmp_path], cache, max_bytes=10) == known


def test_a_link_out_of_the_data_roots_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_text("secret")
    root = tmp_path / "root"
    folder = write_folder(root)
    (folder / "train/cat/link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(ValueError, match="there is no data at"):
        content("imagefolder:pets", root)


def test_a_folder_that_links_to_itself_is_an_error(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    (folder / "train/loop").symlink_to(folder)
    with pytest.raises(ValueError, match="does a symbolic link lead back up"):
        content("imagefolder:pets", tmp_path)


def test_a_file_of_another_program_is_an_error_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"not a zip file")
    with pytest.raises(ValueError, match=r"cannot be read as an \.npz file"):
        content("npz:a.npz", tmp_path)


def test_a_file_that_inflates_too_far_is_refused_with_its_size_and_the_limit(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", images=np.zeros((70, 1024, 1024), np.uint8), labels=np.zeros(70))
    with pytest.raises(ValueError, match=r"take 73,4\d\d,\d\d\d bytes in memory; at most 67,108,864 are allowed"):
        content("npz:a.npz", tmp_path)


def test_the_suffixes_are_those_of_the_loader() -> None:
    assert data_files.IMAGE_SUFFIXES == IMG_EXTENSIONS


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / "file").write_text("in the way")
    assert content("imagefolder:pets", tmp_path, tmp_path / "file" / "cache") == content("imagefolder:pets", tmp_path)


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize(("changed", "same"), [("images", True), ("test_images", False), ("test_labels", False)])
def test_test_data_are_the_same_if_only_training_images_changed(tmp_path: Path, changed: str, same: bool) -> None:
    arrays: dict[str, Any] = {
        "images": np.zeros((5, 8, 8), np.uint8),
        "labels": np.arange(5),
        "test_images": np.zeros((2, 8, 8), np.uint8),
        "test_labels": np.arange(2),
    }
    np.savez(tmp_path / "a.npz", **arrays)
    before = content("npz:a.npz", tmp_path, tmp_path / "cache").sha256
    np.savez(tmp_path / "a.npz", **arrays | {changed: arrays[changed] + 1})
    now = content("npz:a.npz", tmp_path, tmp_path / "cache").sha256
    assert have_same_test_data(before, now, ContentCache(tmp_path / "cache")) == same


@pytest.mark.usefixtures("settled")
def test_without_test_data_of_their_own_any_change_may_be_in_the_test(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((5, 8, 8), np.uint8), labels=np.arange(5))
    before = content("npz:a.npz", tmp_path, tmp_path / "cache").sha256
    np.savez(tmp_path / "a.npz", images=np.ones((5, 8, 8), np.uint8), labels=np.arange(5))
    now = content("npz:a.npz", tmp_path, tmp_path / "cache").sha256
    cache = ContentCache(tmp_path / "cache")
    assert have_same_test_data(before, before, cache)
    assert not have_same_test_data(before, now, cache)


@pytest.mark.usefixtures("settled")
def test_what_is_recorded_later_is_found_although_it_was_missing_before(tmp_path: Path) -> None:
    folder, caches = write_folder(tmp_path), [tmp_path / "cache", tmp_path / "other"]
    before = content("imagefolder:pets", tmp_path, caches[0]).sha256
    (folder / "train/cat/1.png").write_text("other")
    now = content("imagefolder:pets", tmp_path, caches[1]).sha256
    cache = ContentCache(caches[0])
    assert not have_same_test_data(before, now, cache)
    assert describe_difference(before, now, cache) == ""
    # Half a file is as good as none.
    [recorded] = caches[1].glob("*.files")
    lines = recorded.read_text().splitlines(keepends=True)
    (caches[0] / recorded.name).write_text("".join(lines[:-1]))
    assert not have_same_test_data(before, now, cache)
    assert describe_difference(before, now, cache) == ""
    (caches[0] / recorded.name).write_text("".join(lines))
    assert have_same_test_data(before, now, cache)
    assert describe_difference(before, now, cache) == "train/cat/1.png changed"


def test_what_lies_beside_the_images_of_a_dataset_says_nothing(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    first = content("imagefolder:pets", tmp_path)
    (folder / "val/cat").mkdir(parents=True)
    (folder / "val/cat/0.png").write_text("not read, since there is a test folder")
    assert content("imagefolder:pets", tmp_path) == first


@pytest.mark.usefixtures("settled")
def test_test_files_that_are_training_files_are_counted(tmp_path: Path) -> None:
    folder, cache = write_folder(tmp_path), ContentCache(tmp_path / "cache")
    separate = content("imagefolder:pets", tmp_path, cache.folder).sha256
    for number in range(2):
        (folder / f"test/dog/{number}.png").write_bytes((folder / "train/cat/1.png").read_bytes())
    leaking = content("imagefolder:pets", tmp_path, cache.folder).sha256
    for _ in range(2):
        assert [count_test_files_in_training(sha256, cache) for sha256 in (separate, leaking)] == [0, 2]
        # The second time without the digests of the files.
        for file in (tmp_path / "cache").glob("*.files"):
            file.unlink()
    assert count_test_files_in_training(leaking, ContentCache(None)) is None
