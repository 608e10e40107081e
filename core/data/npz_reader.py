"""Reads arrays from an `.npz` file that may be hostile: their sizes are checked before anything is inflated."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.lib import format as npy

from core.run.data_files import ALWAYS_ALLOWED_BYTES, MAX_ARRAY_BYTES, MAX_INFLATION
from core.spec.data_paths import open_data_file


class ArrayLimitError(ValueError):
    """The arrays of a file are larger than the limits allow."""


def read_arrays(path: Path, names: Collection[str], data_roots: Sequence[Path]) -> dict[str, np.ndarray]:
    """The arrays of these names that a file holds; others are never read.

    Raises ValueError for a file that is not an .npz file, holds pickled objects, or declares more than
    `MAX_ARRAY_BYTES`.
    """
    with open_data_file(path, data_roots) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                members = {
                    name: archive.getinfo(f"{name}.npy") for name in names if f"{name}.npy" in archive.namelist()
                }
                _check_sizes(path, archive, members, file.seek(0, 2))
                return {name: _read(archive, member) for name, member in members.items()}
        except ArrayLimitError:
            raise
        except Exception as error:  # a damaged archive raises many types of errors
            raise ValueError(f"{path} cannot be read as an .npz file without pickled objects: {error}") from None


def _check_sizes(path: Path, archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], file_bytes: int) -> None:
    total = 0
    for name, member in members.items():
        # numpy writes no others, and some methods let the archive choose how much memory they take.
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{name} is compressed by a method other than deflate")
        shape, dtype, header_bytes = _header(archive, member)
        declared = math.prod(shape) * dtype.itemsize
        total += declared
        if total > MAX_ARRAY_BYTES:
            raise _too_large(path, total)
        stored = member.file_size - header_bytes
        if not dtype.hasobject and declared != stored:
            raise ValueError(f"{name} declares {declared:,} bytes (shape {shape}, {dtype}), but has {stored:,}")
    if total > max(ALWAYS_ALLOWED_BYTES, MAX_INFLATION * file_bytes):
        raise ArrayLimitError(
            f"{path}: {file_bytes:,} bytes inflate to {total:,}, more than {MAX_INFLATION} times as much. "
            "If these are real images, save them uncompressed with numpy.savez"
        )


def _too_large(path: Path, total: int) -> ArrayLimitError:
    return ArrayLimitError(
        f"{path}: its arrays take {total:,} bytes or more, at most {MAX_ARRAY_BYTES:,} are read: "
        "use fewer or smaller images, or an image folder (imagefolder:<path>), which is read image by image"
    )


def _header(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> tuple[tuple[int, ...], np.dtype, int]:
    """Shape, type and length of the header of one array."""
    with archive.open(member) as stream:
        file = cast(BinaryIO, stream)
        version = npy.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{member.filename} has format version {version}; 1.0 and 2.0 are read")
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read_header(file)
        if any(size < 0 for size in shape):
            raise ValueError(f"{member.filename} declares the shape {shape}")
        return shape, dtype, stream.tell()


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(member) as stream:
        return npy.read_array(cast(BinaryIO, stream), allow_pickle=False)
