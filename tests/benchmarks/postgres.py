"""The service on PostgreSQL with two API processes, against a bare insert into the same server."""

from __future__ import annotations

import http.client
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy import text
from sqlmodel import SQLModel

from app.db import make_engine
from app.supervisor.up import commands
from tests.benchmarks.measures import Row, row
from tests.benchmarks.service import waiting_job
from tests.e2e.running import ROOT, Running
from tests.parts import free_port, running_postgres, wait_until

CONNECTIONS = 16
STORED = 100_000
LIST = "/jobs?limit=50"
# What a table of jobs shows.
SLIM_LIST = f"{LIST}&fields=id,kind,name,state,message,progress"


def rows() -> list[Row]:
    """Submissions, and a list among many jobs."""
    with tempfile.TemporaryDirectory() as temporary, running_postgres(durable=True) as server:
        databases = {}
        with psycopg.connect(server, autocommit=True) as connection:
            for name in ("service", "bare"):
                connection.execute(f"CREATE DATABASE {name}".encode())
                databases[name] = f"{server.rpartition('/')[0]}/{name}"
        up = Running(Path(temporary) / "data", MCN_DATABASE_URL=databases["service"])
        up.start()
        try:
            with _second_api(up, databases["service"]) as second, _bare(databases["bare"]) as bare:
                ports = [up.settings.port, second]
                return [*_posts(up, ports, bare), *_lists(up, ports, databases["service"])]
        finally:
            up.stop()


@contextmanager
def _second_api(up: Running, url: str) -> Iterator[int]:
    settings = up.settings.model_copy(update={"port": free_port()})
    environment = os.environ | {"MCN_DATA_DIR": str(settings.data_dir), "MCN_DATABASE_URL": url}
    with _api(commands(settings)["api"], environment, settings.port):
        yield settings.port


@contextmanager
def _bare(url: str) -> Iterator[int]:
    port = free_port()
    words = ["tests.benchmarks.bare:app", "--port", str(port), "--no-access-log", "--log-level", "error"]
    environment = os.environ | {"BARE_DATABASE_URL": url.replace("postgresql:", "postgresql+psycopg:"), "BARE_FILE": ""}
    with _api([sys.executable, "-m", "uvicorn", *words], environment, port):
        yield port


@contextmanager
def _api(command: Sequence[str], environment: dict[str, str], port: int) -> Iterator[None]:
    def answers() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status < 500
        except OSError:
            return False
        finally:
            connection.close()

    with process(command, environment):
        wait_until(answers, f"the start of {command[2]}")
        yield


@contextmanager
def process(command: Sequence[str], environment: dict[str, str]) -> Iterator[None]:
    """A process that runs meanwhile."""
    started = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        yield
    finally:
        started.terminate()
        started.wait(20)


def _load(ports: Sequence[int], method: str, path: str, body: bytes | None, token: str, seconds: float) -> list[float]:
    """The time that each request took, over connections that are spread over the ports."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    end = time.monotonic() + seconds

    def one(number: int) -> list[float]:
        connection = http.client.HTTPConnection("127.0.0.1", ports[number % len(ports)])
        times = []
        while time.monotonic() < end:
            began = time.perf_counter()
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            answer.read()
            times.append(time.perf_counter() - began)
            assert answer.status in (200, 201), answer.status
        connection.close()
        return times

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        return [seconds for times in pool.map(one, range(CONNECTIONS)) for seconds in times]


def _token(up: Running) -> str:
    return (up.settings.data_dir / "admin-token").read_text().strip()


def _p99(times: Sequence[float]) -> float:
    return statistics.quantiles(times, n=100)[-1]


def _posts(up: Running, ports: Sequence[int], bare: int) -> list[Row]:
    body, seconds = waiting_job(up), 4.0
    ours, other = [], []
    for _ in range(3):
        ours.append(_load(ports, "POST", "/jobs", body, _token(up), seconds))
        other.append(_load([bare], "POST", "/jobs", body, _token(up), seconds))
    rate, bare_rate = (statistics.median(len(times) / seconds for times in side) for side in (ours, other))
    p99 = 1000 * statistics.median(_p99(times) for times in ours)
    value = f"{rate:.0f} / {bare_rate:.0f} a second = {rate / bare_rate:.2f}"
    return [
        row(
            "POST /jobs on PostgreSQL, 16 connections, two API processes / a bare insert", value, ">= 250", rate >= 250
        ),
        row("POST /jobs on PostgreSQL, 99th percentile", f"{p99:.0f} ms", "<= 150 ms", p99 <= 150),
    ]


def _lists(up: Running, ports: Sequence[int], url: str) -> list[Row]:
    engine = make_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        columns = SQLModel.metadata.tables["jobs"].columns.keys()
        copied = ", ".join(name for name in columns if name not in ("id", "state", "idempotency_key"))
        connection.execute(text(
            f"INSERT INTO jobs (id, state, {copied}) SELECT 'job_' || lpad(n::text, 26, '0'), 'succeeded', {copied} "
            f"FROM generate_series(1, {STORED}) n, (SELECT * FROM jobs ORDER BY id DESC LIMIT 1) one"))  # fmt: skip
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE jobs"))
    engine.dispose()
    what = f"a list of 50 among {STORED:,} jobs on PostgreSQL, 16 connections, 99th percentile"
    table = []
    for path, form in ((SLIM_LIST, "some fields"), (LIST, "all fields")):
        times = _load(ports, "GET", path, None, _token(up), 5.0)
        p99 = 1000 * _p99(times)
        table.append(row(f"{what}, {form}", f"{p99:.0f} ms, {len(times) / 5:.0f} a second", "<= 200 ms", p99 <= 200))
    return table
