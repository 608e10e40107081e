"""Small data sets on disk, and how often their files are hashed."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.run import data_files
from core.run.content import Content, ContentCache, find_content


def content(name: str, root: Path, cache: Path | None = None) -> Content:
    result = find_content(name, [root], ContentCache(cache))
    assert result is not None
    return result


def write_folder(root: Path) -> Path:
    for split, count in (("train", 3), ("test", 2)):
        for label in ("cat", "dog"):
            folder = root / "pets" / split / label
            folder.mkdir(parents=True)
            for index in range(count):
                (folder / f"{index}.png").write_bytes(f"{split} {label} {index}".encode())
    return root / "pets"


def count_hashes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are hashed from now on."""
    hashed: list[str] = []
    real = data_files._hash_in_folder

    def counting(file: data_files.DataFile, roots: list[Path]) -> data_files.Parts:
        hashed.append(file.name)
        return real(file, roots)

    monkeypatch.setattr(data_files, "_hash_in_folder", counting)
    return hashed
