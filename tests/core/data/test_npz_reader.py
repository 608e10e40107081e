from __future__ import annotations

import contextlib
import io
import os
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from core.data import load_dataset, npz_reader
from core.data.npz_reader import read_arrays
from core.spec import DatasetSpec
from tests.core.in_time import result_in_time


def header(shape: tuple[int, ...], dtype: str = "|u1") -> bytes:
    """The header of an .npy file that declares this shape, without data."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue()


def write_members(path: Path, compression: int = zipfile.ZIP_DEFLATED, **members: bytes) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)


def load(root: Path) -> object:
    return load_dataset(DatasetSpec(name="npz:data.npz"), [root])


def test_a_named_pipe_is_refused_without_blocking(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "data.npz")
    assert "data.npz is a named pipe" in str(result_in_time(lambda: load(tmp_path)))


def test_a_declared_shape_beyond_the_limit_is_refused_from_the_header_alone(tmp_path: Path) -> None:
    write_members(tmp_path / "data.npz", images=header((10**9, 1000, 1000)), labels=header((10**9,), "<i8"))
    with pytest.raises(ValueError, match="at most 4,294,967,296 are read: use fewer or smaller images"):
        load(tmp_path)


def test_the_arrays_of_a_file_are_limited_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz_reader, "MAX_ARRAY_BYTES", 1000)
    half = np.zeros(600, np.uint8)
    np.savez(tmp_path / "data.npz", images=half, labels=half)
    with pytest.raises(ValueError, match="its arrays take 1,200 bytes or more, at most 1,000 are read"):
        read_arrays(tmp_path / "data.npz", ["images", "labels"], [tmp_path])
    assert set(read_arrays(tmp_path / "data.npz", ["images"], [tmp_path])) == {"images"}


def test_a_file_that_inflates_a_hundredfold_is_refused_before_it_is_inflated(tmp_path: Path) -> None:
    zeros = np.zeros((100_000, 28, 28), np.uint8)
    np.savez_compressed(tmp_path / "data.npz", images=zeros, labels=np.zeros(100_000, np.int64))
    size = zeros.nbytes
    del zeros
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"inflate to .*, more than 100 times as much. .*numpy\.savez"):
        load(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < size / 10


def test_a_small_file_of_equal_pixels_is_read(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "data.npz", images=np.zeros((5000, 8, 8), np.uint8), labels=np.arange(5000) % 2)
    assert len(load_dataset(DatasetSpec(name="npz:data.npz"), [tmp_path]).train) == 4000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (header((10, 8, 8)), "declares 640 bytes .* but has 0"),
        (header((2, 2, 2)) + bytes(9), "declares 8 bytes .* but has 9"),
        (header((-1, 8, 8)), "declares the shape"),
        (b"\x93NUMPY\x09\x00" + bytes(100), "format version"),
        (b"no array at all", "magic string"),
    ],
)
def test_a_member_that_contradicts_its_header_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    write_members(tmp_path / "data.npz", images=content)
    with pytest.raises(ValueError, match=message):
        load(tmp_path)


def test_a_compression_that_numpy_never_writes_is_refused(tmp_path: Path) -> None:
    write_members(tmp_path / "data.npz", zipfile.ZIP_LZMA, images=header((1, 8, 8)) + bytes(64))
    with pytest.raises(ValueError, match="compressed by a method other than deflate"):
        load(tmp_path)


def test_a_damaged_archive_gives_no_other_error_than_a_refusal(tmp_path: Path) -> None:
    np.savez(tmp_path / "whole.npz", images=np.zeros((10, 8, 8), np.uint8), labels=np.arange(10) % 3)
    content = (tmp_path / "whole.npz").read_bytes()
    for position in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        (tmp_path / "data.npz").write_bytes(damaged)
        with contextlib.suppress(ValueError):
            load(tmp_path)
