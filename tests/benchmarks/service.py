"""The API against the least that could answer, and what it must do in absolute terms."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil

from app.db import make_engine, transaction
from app.models import Component, Event, Job
from tests.benchmarks.measures import Row, row
from tests.e2e.running import Running, expert
from tests.parts import free_port, wait_until

CONNECTIONS = 16
FILE_BYTES = 1 << 30


def rows() -> list[Row]:
    """Every measure of the running service, each with what is wanted."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        up = Running(folder / "data")
        began = time.monotonic()
        up.start()
        ready_s = time.monotonic() - began
        try:
            with _bare(folder) as bare:
                table = [row("API ready after its start", f"{ready_s:.1f} s", "<= 5 s", ready_s <= 5)]
                table += _memory(up)
                table += [_first_process(up), _posts(up, bare), *_downloads(up, bare), _subscribers(up)]
                return table
        finally:
            up.stop()


def _memory(up: Running) -> list[Row]:
    pid = up.pid("api")
    assert pid is not None
    assert up._process is not None
    api = psutil.Process(pid).memory_info().rss / 1e6
    whole = psutil.Process(up._process.pid)
    everything = sum(process.memory_info().rss for process in [whole, *whole.children(recursive=True)]) / 1e6
    return [
        row("resident memory of the API", f"{api:.0f} MB", "< 150 MB", api < 150),
        row("resident memory of the idle service", f"{everything:.0f} MB", "< 450 MB", everything < 450),
    ]


def _first_process(up: Running) -> Row:
    """From POST until the training process is there to be seen."""
    times = []
    for _ in range(3):
        began = time.monotonic()
        job_id = up.submit(expert(epochs=1))
        wait_until(lambda: bool(up.training()), "the start of training", 20)
        times.append(time.monotonic() - began)
        up.wait(job_id)
    middle = statistics.median(times)
    return row("from POST to the start of the training process", f"{middle:.2f} s", "< 1 s", middle < 1)


@contextmanager
def _bare(folder: Path) -> Iterator[int]:
    port = free_port()
    file = folder / "file"
    with file.open("wb") as out:
        out.truncate(FILE_BYTES)
    environment = os.environ | {"BARE_DATABASE_URL": f"sqlite:///{folder / 'bare.db'}", "BARE_FILE": str(file)}
    words = ["tests.benchmarks.bare:app", "--port", str(port), "--no-access-log", "--log-level", "error"]
    server = subprocess.Popen([sys.executable, "-m", "uvicorn", *words], env=environment)
    try:
        wait_until(lambda: _answers(port), "the bare server", 30)
        yield port
    finally:
        server.terminate()
        server.wait(10)


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/docs").status_code == 200
    except httpx.HTTPError:
        return False


def waiting_job(up: Running) -> bytes:
    """The body of a job that waits for ever, since what it depends on is paused: nothing trains meanwhile."""
    holder = up.submit(expert(epochs=90_000))
    up.wait(holder, "running")
    up.api.post(f"/jobs/{holder}/pause")
    up.wait(holder, "paused")
    spec = {
        "kind": "fusion",
        "experts": [{"from": {"job": holder, "component": "expert_0"}}],
        "num_experts": 4,
        "dataset": {"name": "digits"},
        "training": {"epochs": 3},
    }
    return json.dumps(spec).encode()


def _posts(up: Running, bare: int) -> Row:
    """Inserts a second over 16 connections, in turns; jobs that wait for ever, so that nothing trains meanwhile."""
    body = waiting_job(up)
    token = (up.settings.data_dir / "admin-token").read_text().strip()
    ours, other = [], []
    for _ in range(5):
        ours.append(_load(up.settings.port, body, token))
        other.append(_load(bare, body, token))
    ratio = statistics.median(a / b for a, b in zip(ours, other, strict=True))
    value = f"{statistics.median(ours):.0f} / {statistics.median(other):.0f} a second = {ratio:.2f}"
    return row("POST /jobs at 16 connections / a bare insert", value, ">= 0.6", ratio >= 0.6)


def _load(port: int, body: bytes, token: str, seconds: float = 2.0) -> float:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    end = time.monotonic() + seconds

    def one(_: int) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        count = 0
        while time.monotonic() < end:
            connection.request("POST", "/jobs", body, headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 201
            count += 1
        connection.close()
        return count

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        return sum(pool.map(one, range(CONNECTIONS))) / seconds


def _downloads(up: Running, bare: int) -> list[Row]:
    """A component of 1 GiB, against a bare FileResponse; then sixteen at once, and the API's memory."""
    job_id = up.submit(expert(epochs=1))
    up.wait(job_id)
    file = up.settings.runs_dir / job_id / "components" / "large"
    with file.open("wb") as out:
        out.truncate(FILE_BYTES)
    entry = {"file": "large", "name": "large.pth", "bytes": FILE_BYTES, "sha256": "0" * 64}
    with transaction(make_engine(up.settings.sqlalchemy_url)) as session:
        session.add(
            Component(
                id="cmp_large", job_id=job_id, name="complete", role="complete", epoch=1, metrics={}, selected_by="x",
                config={}, files={"pth": entry, "safetensors": entry},
            )
        )  # fmt: skip
    token = (up.settings.data_dir / "admin-token").read_text().strip()
    path = f"/jobs/{job_id}/components/complete"
    pairs = [(_fetch(up.settings.port, path, token), _fetch(bare, "/file", token)) for _ in range(3)]
    ours, other = (
        statistics.median(FILE_BYTES / 1e9 / seconds for seconds in side) for side in zip(*pairs, strict=True)
    )
    value = f"{ours:.2f} / {other:.2f} GB/s = {ours / other:.2f}"
    table = [
        row("component download / a bare FileResponse", value, ">= 2.5 or 1 GB/s", ours / other >= 2.5 or ours >= 1)
    ]
    pid = up.pid("api")
    assert pid is not None
    api = psutil.Process(pid)
    before = api.memory_info().rss
    most = [before]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            most.append(api.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: _fetch(up.settings.port, path, token), range(16)))
    done.set()
    watcher.join()
    rise = (max(most) - before) / (1 << 20)
    table.append(
        row("16 downloads of 1 GiB at once raise the API's memory by", f"{rise:.0f} MiB", "< 64 MiB", rise < 64)
    )
    return table


def _fetch(port: int, path: str, token: str) -> float:
    """Seconds to read it all into nothing."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    assert answer.status == 200
    buffer = bytearray(1 << 20)
    count = 0
    while read := answer.readinto(buffer):
        count += read
    connection.close()
    assert count == FILE_BYTES
    return time.perf_counter() - began


def _subscribers(up: Running, count: int = 1_000) -> Row:
    """How long after its commit an event has reached the last of many subscribers."""
    job_id = "job_" + "0" * 26
    engine = make_engine(up.settings.sqlalchemy_url)
    with transaction(engine) as session:
        session.add(Job(id=job_id, kind="expert", name="", state="running", owner="x", spec={}, defaulted=[]))
    token = (up.settings.data_dir / "admin-token").read_text().strip()
    worst = asyncio.run(_subscribe(up.settings.port, job_id, token, count, engine))
    return row(f"an event reaches {count:,} subscribers within", f"{worst:.2f} s", "<= 1 s", worst <= 1)


async def _subscribe(port: int, job_id: str, token: str, count: int, engine: Any) -> float:
    request = (
        f"GET /jobs/{job_id}/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n"
        f"Authorization: Bearer {token}\r\n\r\n"
    ).encode()
    ready = asyncio.Semaphore(0)
    arrived: list[float] = []

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        await reader.readuntil(b"retry: 1000\n\n")
        ready.release()
        await reader.readuntil(b"event: log")
        arrived.append(time.monotonic())
        writer.close()

    tasks = [asyncio.create_task(one()) for _ in range(count)]
    for _ in range(count):
        await asyncio.wait_for(ready.acquire(), 60)
    await asyncio.sleep(1)
    with transaction(engine) as session:
        session.add(Event(job_id=job_id, time=datetime.now(UTC), type="log", data={"message": "hello"}))
    began = time.monotonic()
    await asyncio.wait_for(asyncio.gather(*tasks), 60)
    return max(arrived) - began
