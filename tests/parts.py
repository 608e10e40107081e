"""PostgreSQL and Redis as fixtures: real ones, started in temporary folders on free ports, one a test process."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from ulid import ULID

from tests.machine import find

SKIPPED: set[str] = set()


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def need(part: str, program: str) -> str:
    """A program; skips the test where it is not there."""
    path = find(program)
    if path is None:
        SKIPPED.add(part)
        pytest.skip(f"{part} is not installed")
    return path


@contextmanager
def _folder() -> Iterator[Path]:
    # Not below pytest's own folder, which other users may not enter.
    folder = Path(tempfile.mkdtemp(prefix="mcn-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def wait_until(ready: object, what: str, limit_s: float = 120.0) -> None:
    """Waits for a condition, with a deadline."""
    assert callable(ready)
    start = time.monotonic()
    while not ready():
        waited = time.monotonic() - start
        assert waited < limit_s, f"{what} did not happen in {limit_s} s"
        time.sleep(pause_s(waited))


def pause_s(waited_s: float) -> float:
    """How long to wait before looking again: longer and longer, so that looking costs little beside the waiting."""
    return min(0.5, max(0.02, waited_s / 20))


@contextmanager
def running_postgres(*, durable: bool = False) -> Iterator[str]:
    """A PostgreSQL server, which flushes its writes if it is `durable`; gives the URL of its own database."""
    initdb = need("PostgreSQL", "initdb")
    # It refuses to run as root.
    as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    with _folder() as folder:
        if as_user:
            shutil.chown(folder, "postgres", "postgres")
        data, port = folder / "data", free_port()
        options = ["-A", "trust", "-U", "mcn", "-E", "UTF8", "--no-sync"]
        subprocess.run([*as_user, initdb, "-D", str(data), *options], check=True, capture_output=True)
        settings = [f"port={port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={folder}"]
        settings += [] if durable else ["fsync=off"]
        words = [word for setting in settings for word in ("-c", setting)]
        program = str(Path(initdb).with_name("postgres"))
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen([*as_user, program, "-D", str(data), *words], stdout=log, stderr=log)
        url = f"postgresql://mcn@127.0.0.1:{port}/postgres"

        def answers() -> bool:
            try:
                psycopg.connect(url, connect_timeout=2).close()
            except psycopg.OperationalError:
                return False
            return True

        try:
            wait_until(answers, "the start of PostgreSQL")
            yield url
        finally:
            # Ends its sessions: after SIGTERM it would wait for clients that a failed test has left.
            server.send_signal(signal.SIGINT)
            server.wait(60)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A PostgreSQL server for all tests of a process; gives the URL of its own database."""
    with running_postgres() as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """An empty database of its own."""
    name = f"t{ULID()}".lower()
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return postgres_server.replace("postgresql://", "postgresql+psycopg://").rpartition("/")[0] + f"/{name}"


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis server."""
    program = need("Redis", "redis-server")
    port = free_port()
    with _folder() as folder:
        words = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        server = subprocess.Popen([program, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def answers() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        try:
            wait_until(answers, "the start of Redis")
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.terminate()
            server.wait(20)
