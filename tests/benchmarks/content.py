"""What it costs to know that an image folder has not changed: only the first look reads the files."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

from core.run.content import ContentCache, find_content
from tests.benchmarks.measures import Row, median_s, row

FILE_BYTES = 100_000
NUM_CLASSES = 100
# Ten gigabytes, a tenth where the disk has little space left.
NUM_FILES, FEW_FILES = 100_000, 10_000


def rows() -> list[Row]:
    """The first and the second look at a folder of many small files."""
    with tempfile.TemporaryDirectory(prefix="mcn-bench-") as folder:
        root = Path(folder)
        enough = shutil.disk_usage(root).free > 3 * NUM_FILES * FILE_BYTES
        count = NUM_FILES if enough else FEW_FILES
        _write_tree(root / "images", count)
        # Files as young as these are read again.
        time.sleep(2.5)
        cache = ContentCache(root / "cache")

        def look() -> None:
            assert find_content("imagefolder:images", [root], cache) is not None

        began = time.perf_counter()
        look()
        first = time.perf_counter() - began
        second = median_s(look, 5)
    size = f"{count:,} files of {FILE_BYTES // 1000} kB"
    return [
        row(f"content of {size}, first time", f"{first:.1f} s", "", True),
        row(f"content of {size}, again", f"{second:.2f} s = 1/{first / second:.0f}", "< 1 s", second < 1.0),
    ]


def _write_tree(folder: Path, count: int) -> None:
    blob = os.urandom(FILE_BYTES + count)
    per_class = count // NUM_CLASSES
    for label in range(NUM_CLASSES):
        (folder / f"{label:03d}").mkdir(parents=True)
        for index in range(per_class):
            start = label * per_class + index
            (folder / f"{label:03d}" / f"{index:04d}.png").write_bytes(blob[start : start + FILE_BYTES])
