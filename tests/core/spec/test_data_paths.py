from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from core.spec import data_paths
from core.spec.data_paths import find_path, open_data_file
from tests.core.in_time import result_in_time


def test_paths_outside_the_data_roots_do_not_exist(tmp_path: Path) -> None:
    root, evil = tmp_path / "data", tmp_path / "data-evil"
    root.mkdir()
    evil.mkdir()
    (evil / "x.npz").touch()
    (root / "ok.npz").touch()
    (root / "link").symlink_to(evil)
    (root / "inside").symlink_to(root / "ok.npz")
    assert find_path("ok.npz", [tmp_path / "none", root]) == root / "ok.npz"
    assert find_path(str(root / "ok.npz"), [root]) == root / "ok.npz"
    assert find_path("inside", [root]) == root / "ok.npz"
    for path in (
        "../data-evil/x.npz",
        str(evil / "x.npz"),
        "link/x.npz",
        "link",
        "/etc/passwd",
        "..",
        "missing",
        "a\x00b",
    ):
        with pytest.raises(ValueError, match="under the data roots"):
            find_path(path, [root])
    with pytest.raises(ValueError, match=r"under the data roots \(none\)"):
        find_path("ok.npz", [])


def test_special_files_are_refused_by_their_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
    for name, kind in (("pipe", "a named pipe"), ("socket", "a socket")):
        with pytest.raises(ValueError, match=f"{name} is {kind}; data are read from regular files only"):
            find_path(name, [tmp_path])


def test_a_folder_is_found_but_not_opened_as_a_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert find_path("folder", [tmp_path]) == tmp_path / "folder"
    with pytest.raises(ValueError, match="is a folder"):
        open_data_file(tmp_path / "folder", [tmp_path])


def test_a_file_is_opened_in_any_depth_and_by_a_link_below_the_root(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    for path in (tmp_path / "a" / "b" / "file", tmp_path / "link" / "b" / "file"):
        with open_data_file(path, [tmp_path / "none", tmp_path]) as file:
            assert file.read() == b"content"


def become_pipe(folder: Path) -> None:
    (folder / "file").unlink()
    os.mkfifo(folder / "file")


def become_link(folder: Path) -> None:
    (folder / "file").unlink()
    (folder / "file").symlink_to(folder.parent.parent / "secret" / "file")


def become_linked_folder(folder: Path) -> None:
    (folder / "file").unlink()
    folder.rmdir()
    folder.symlink_to(folder.parent.parent / "secret")


@pytest.mark.parametrize("swap", [become_pipe, become_link, become_linked_folder])
def test_a_swap_between_check_and_open_gains_nothing(
    swap: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    for folder in (root / "folder", tmp_path / "secret"):
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(b"content")

    def check_then_swap(path: str, data_roots: list[Path]) -> Path:
        resolved = find_path(path, data_roots)
        swap(root / "folder")
        return resolved

    monkeypatch.setattr(data_paths, "find_path", check_then_swap)
    error = result_in_time(lambda: open_data_file(root / "folder" / "file", [root]))
    assert isinstance(error, ValueError)
