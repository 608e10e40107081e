"""Whether the broker answers, for one that is there, stopped, away, or something else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.operations import broker
from app.operations.broker import broker_address, broker_trouble
from app.settings import Settings
from tests.parts import free_port


def trouble(folder: Path, url: str | None) -> str | None:
    return broker_trouble(Settings(data_dir=folder, broker_url=url))


@contextmanager
def server(answer: bytes | None) -> Iterator[int]:
    """A server that gives one answer, or none, to whoever connects; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                assert connection.recv(64) == b"PING\r\n"
                connection.sendall(answer or b"")

        if answer is not None:
            threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]


@pytest.mark.parametrize("answer", [b"+PONG\r\n", b"-NOAUTH Authentication required.\r\n"])
def test_whatever_redis_answers_it_runs(answer: bytes, tmp_path: Path) -> None:
    with server(answer) as port:
        assert trouble(tmp_path, f"redis://:secret@127.0.0.1:{port}/0") is None


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"-LOADING Redis is loading the dataset in memory\r\n", "still loading"),
        (b"HTTP/1.1 400 Bad Request\r\n", "no Redis server"),
        (b"", "no Redis server"),
    ],
)
def test_what_does_not_answer_as_redis_does_is_named(answer: bytes, expected: str, tmp_path: Path) -> None:
    with server(answer) as port:
        assert expected in str(trouble(tmp_path, f"redis://127.0.0.1:{port}/0"))


def test_one_that_accepts_and_does_not_answer_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "LIMIT_S", 0.05)
    with server(None) as port:
        assert "timed out" in str(trouble(tmp_path, f"redis://127.0.0.1:{port}/0"))


def test_one_that_is_away_or_has_no_valid_address_is_named(tmp_path: Path) -> None:
    assert "refused" in str(trouble(tmp_path, f"redis://127.0.0.1:{free_port()}/0"))
    assert trouble(tmp_path, "redis://host:port/0")


def test_the_embedded_one_needs_its_folder(tmp_path: Path) -> None:
    assert "cannot be written" in str(trouble(tmp_path / "data", None))
    (tmp_path / "data/broker").mkdir(parents=True)
    assert trouble(tmp_path / "data", None) is None


def test_its_address_has_no_password(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, broker_url="redis://user:secret@cache:6379/0")
    assert broker_address(settings) == "cache:6379"
