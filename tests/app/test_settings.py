"""The data folder: private to its owner, with all that the service makes in it."""

from __future__ import annotations

import os
import socket
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app.settings import Settings
from app.supervisor.up import CannotStart, running


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_everything_made_after_the_data_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    os.umask(0o022)
    settings = Settings(data_dir=tmp_path / "data")
    settings.make_folders()
    (settings.data_dir / "file").touch()
    (settings.data_dir / "folder").mkdir()
    made = [settings.data_dir, *settings.data_dir.iterdir()]
    assert {path.name: oct(mode(path)) for path in made if mode(path) & 0o077} == {}


def test_a_loose_data_folder_is_tightened(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    Settings(data_dir=tmp_path).make_folders()
    assert mode(tmp_path) == 0o700


def test_a_loose_folder_with_other_files_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    tmp_path.chmod(0o755)
    with (
        pytest.raises(CannotStart, match=rf"files of something else.* chmod 700 {tmp_path}"),
        running(Settings(data_dir=tmp_path), say=print),
    ):
        pass
    assert (mode(tmp_path), [path.name for path in tmp_path.iterdir()]) == (0o755, ["notes.txt"])
    # Once it was the service's, it may hold anything.
    tmp_path.chmod(0o700)
    Settings(data_dir=tmp_path).make_folders()
    tmp_path.chmod(0o755)
    Settings(data_dir=tmp_path).make_folders()
    assert mode(tmp_path) == 0o700


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MCN_DATA_DIR", "MCN_PORT", "MCN_DEVICES", "MCN_DATABASE_URL", "MCN_WARM_START"):
        monkeypatch.delenv(name, raising=False)
    default = Settings()
    for name in ("MCN_DATA_DIR", "MCN_PORT", "MCN_DEVICES", "MCN_DATABASE_URL", "MCN_WARM_START"):
        monkeypatch.setenv(name, "")
    assert Settings() == default


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"host": "no-such-host.invalid"}, "set another MCN_HOST"),
        ({"host": "192.0.2.1"}, "set another MCN_HOST"),
        (
            {"database_url": "postgresql://nobody@127.0.0.1:1/none"},
            "the database cannot be used .*another MCN_DATABASE",
        ),
    ],
)
def test_what_cannot_be_reached_is_named_with_its_setting(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (
        pytest.raises(CannotStart, match=message),
        running(Settings(data_dir=tmp_path / "data", port=port, **settings), say=print),
    ):
        pass


def test_a_shared_folder_is_refused_in_a_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    with (
        pytest.raises(CannotStart, match=r"other users can read it .* set another MCN_DATA_DIR"),
        running(Settings(data_dir=tmp_path), say=print),
    ):
        pass
    assert mode(tmp_path) == 0o1777


def test_a_loose_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(PermissionError, match="not yours alone"):
        Settings(data_dir=tmp_path).make_folders()
    assert mode(tmp_path) == 0o755


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::1", "http://[::1]:8000"),
        ("::", "http://[::1]:8000"),
        ("node1", "http://node1:8000"),
    ],
)
def test_a_client_on_this_machine_knows_the_address_of_the_api(host: str, url: str) -> None:
    assert Settings(host=host).api_url == url


def test_a_port_in_use_is_refused_on_ipv6_too(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET6) as listener:
        try:
            listener.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
        listener.listen()
        settings = Settings(data_dir=tmp_path / "data", host="::1", port=listener.getsockname()[1])
        with pytest.raises(CannotStart, match="Address already in use"), running(settings, say=print):
            pass


@pytest.mark.parametrize(
    ("url", "valid"),
    [
        ("http://localhost:8000", True),
        ("https://user:secret@mcn.example/api", True),
        ("http://[::1]:8000", True),
        ("http://::1:8000", False),
        ("http://localhost:port", False),
        ("localhost:8000", False),
    ],
)
def test_an_address_that_no_client_can_use_is_refused(url: str, valid: bool) -> None:
    with nullcontext() if valid else pytest.raises(ValidationError, match="use an address"):
        Settings(url=url)


@pytest.mark.parametrize(
    ("name", "valid"),
    [("node-1.cluster_a", True), ("a" * 253, True), ("a" * 254, False), ("-node", False), ("my node", False)],
)
def test_the_name_of_a_worker_is_one_word(name: str, valid: bool) -> None:
    with nullcontext() if valid else pytest.raises(ValidationError, match="such as node-1"):
        assert Settings(worker_name=name).worker_host == name


def test_a_worker_is_named_after_its_machine_unless_it_has_a_name() -> None:
    assert Settings().worker_host == socket.gethostname()


@pytest.mark.parametrize("address", ["https://a/b?c", "https://a/b#c", "https://a?b", "a.example.org"])
def test_an_address_to_which_paths_cannot_be_added_is_refused(address: str) -> None:
    with pytest.raises(ValidationError, match=r"without \? or #"):
        Settings(public_url=address)
