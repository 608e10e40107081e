"""Event streams with many subscribers: delay, memory, and how fast lists are answered meanwhile."""

from __future__ import annotations

import asyncio
import http.client
import multiprocessing
import re
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from multiprocessing.managers import SyncManager
from pathlib import Path
from typing import Any, cast

import psutil
import uvloop
from sqlmodel import select

from app.db import make_engine, reading, transaction
from app.models import Event
from tests.benchmarks.measures import Row, row
from tests.benchmarks.stored import insert_jobs
from tests.e2e.running import Running, fusion

SUBSCRIBERS = 200
EVENTS = 2_000
# About 400 events a second, as of a job with very short steps.
EVENTS_PER_COMMIT = 20
PAUSE_S = 0.05
MANY_SUBSCRIBERS = 5_000
PAGE = 50
LIMIT_S = 120.0
_FRAME = re.compile(rb"id: (\d+)\nevent: (\w+)\n")
_FREQUENT = (b"progress", b"metrics")


def rows() -> list[Row]:
    """Every measure, each of a service in processes of its own."""
    with tempfile.TemporaryDirectory() as temporary:
        up = Running(Path(temporary) / "data")
        up.start()
        context = multiprocessing.get_context("spawn")
        try:
            with ProcessPoolExecutor(2, mp_context=context) as pool, context.Manager() as manager:
                bench = _Bench(up, pool, manager)
                return [*bench.no_streams(), *bench.chatty_job(), *bench.stored_events(), bench.one_event_for_many()]
        finally:
            up.stop()


class _Bench:
    def __init__(self, up: Running, pool: ProcessPoolExecutor, manager: SyncManager) -> None:
        self.up, self.pool, self.manager = up, pool, manager
        self.token = (up.settings.data_dir / "admin-token").read_text().strip()
        plan = up.api.post("/jobs?dry_run=true", fusion())
        jobs = [f"job_{number:026d}" for number in range(PAGE)]
        rows_ = [{"id": job, "spec": plan["spec"], "defaulted": plan["defaulted"], "state": "paused"} for job in jobs]
        rows_ += [{"id": job, "state": "running", "attempt": 1} for job in ("job_chatty", "job_many")]
        insert_jobs(make_engine(up.settings.sqlalchemy_url), rows_)

    def no_streams(self) -> list[Row]:
        """What lists take on this machine at the moment, when nobody is subscribed."""
        with self._meanwhile() as meanwhile:
            time.sleep(3)
        return meanwhile.rows(what="without streams")

    def chatty_job(self) -> list[Row]:
        """New events of a job that reports many of them."""
        with ExitStack() as stack:
            measured: list[_Meanwhile] = []

            def report() -> Future[dict[int, float]]:
                measured.append(stack.enter_context(self._meanwhile()))
                return self._write("job_chatty", EVENTS)

            streams = uvloop.run(self._subscribe("job_chatty", SUBSCRIBERS, report))
        [meanwhile] = measured
        arrivals = [arrival for reader in streams.readers for arrival in reader.arrivals()]
        delays = sorted(at - streams.written[event] for event, _, at in arrivals)
        p99 = delays[int(0.99 * len(delays))]
        important = {event for event, kind in self._types("job_chatty").items() if kind.encode() not in _FREQUENT}
        for reader in streams.readers:
            assert important <= {event for event, _, _ in reader.arrivals()}, "a stream has left out an event"
        share = len(arrivals) / SUBSCRIBERS / EVENTS
        what = f"{EVENTS:,} events reach {SUBSCRIBERS} subscribers ({share:.0%} of them sent), 99 % within"
        return [row(what, f"{p99:.2f} s", "<= 2 s", p99 <= 2), *meanwhile.rows()]

    def stored_events(self) -> list[Row]:
        """The same events once more, for subscribers who all come when they are stored."""
        with self._meanwhile() as meanwhile:
            began = time.monotonic()
            uvloop.run(self._subscribe("job_chatty", SUBSCRIBERS, None))
            took = time.monotonic() - began
        what = f"{SUBSCRIBERS} new subscribers have all {EVENTS:,} stored events within"
        return [row(what, f"{took:.2f} s", "<= 4 s", took <= 4), *meanwhile.rows(1.0)]

    def one_event_for_many(self) -> Row:
        streams = uvloop.run(self._subscribe("job_many", MANY_SUBSCRIBERS, partial(self._write, "job_many", 1)))
        [(_, at)] = streams.written.items()
        worst = max(arrival for reader in streams.readers for _, _, arrival in reader.arrivals()) - at
        what = f"an event reaches {MANY_SUBSCRIBERS:,} subscribers within"
        memory = psutil.Process(self.up.pid("api")).memory_info().rss / 1e6
        return row(what, f"{worst:.2f} s ({memory:.0f} MB)", "<= 2 s", worst <= 2)

    def _types(self, job_id: str) -> dict[int, str]:
        with reading(make_engine(self.up.settings.sqlalchemy_url)) as session:
            query = select(Event.id, Event.type).where(Event.job_id == job_id)
            return {event: kind for event, kind in session.exec(query) if event is not None}

    def _write(self, job_id: str, count: int) -> Future[dict[int, float]]:
        return self.pool.submit(write, self.up.settings.sqlalchemy_url, job_id, count)

    async def _subscribe(
        self, job_id: str, count: int, begin: Callable[[], Future[dict[int, float]]] | None
    ) -> _Streams:
        """Runs streams of a job to their end; `begin` starts to write events once all are open."""
        loop = asyncio.get_running_loop()
        request = (
            f"GET /jobs/{job_id}/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n"
            f"Authorization: Bearer {self.token}\r\n\r\n"
        ).encode()
        readers: list[_Reader] = []
        for _ in range(count):
            reader = _Reader(loop, request)
            await loop.create_connection(partial(_same, reader), "127.0.0.1", self.up.settings.port)
            readers.append(reader)
        written: dict[int, float] = {}
        async with asyncio.timeout(LIMIT_S):
            await asyncio.gather(*(reader.is_open for reader in readers))
            if begin is not None:
                # Past the replay of what is stored, which is nothing.
                await asyncio.sleep(1)
                written = await asyncio.wrap_future(begin())
            await asyncio.gather(*(reader.is_over for reader in readers))
        for reader in readers:
            reader.transport.close()
        return _Streams(readers, written)

    @contextmanager
    def _meanwhile(self) -> Iterator[_Meanwhile]:
        """Lists jobs again and again, and watches the memory of the API."""
        stop, over = self.manager.Event(), threading.Event()
        pid = self.up.pid("api")
        assert pid is not None
        api = psutil.Process(pid)
        measured = _Meanwhile()

        def watch() -> None:
            while not over.wait(0.05):
                measured.memory_mb = max(measured.memory_mb, api.memory_info().rss / 1e6)

        watcher = threading.Thread(target=watch)
        watcher.start()
        lists = self.pool.submit(list_jobs, self.up.settings.port, self.token, stop)
        try:
            yield measured
        finally:
            stop.set()
            over.set()
            watcher.join()
            measured.list_s = sorted(lists.result())


@dataclass
class _Meanwhile:
    list_s: list[float] = field(default_factory=list)
    memory_mb: float = 0.0

    def rows(self, limit_s: float = 0.2, what: str = "  meanwhile") -> list[Row]:
        p99, middle = self.list_s[int(0.99 * len(self.list_s))], statistics.median(self.list_s)
        value = f"{1000 * p99:.0f} ms (median {1000 * middle:.0f}, slowest {1000 * self.list_s[-1]:.0f})"
        limit = f"<= {1000 * limit_s:.0f} ms"
        return [
            row(f"{what} 99 % of lists of {PAGE} jobs are answered within", value, limit, p99 <= limit_s),
            row("  resident memory of the API", f"{self.memory_mb:.0f} MB", "< 250 MB", self.memory_mb < 250),
        ]


class _Reader(asyncio.Protocol):
    """A subscriber that keeps what it receives; it is read once the measurement is over."""

    def __init__(self, loop: asyncio.AbstractEventLoop, request: bytes) -> None:
        self.request = request
        self.parts: list[tuple[float, bytes]] = []
        self.is_open: asyncio.Future[None] = loop.create_future()
        self.is_over: asyncio.Future[None] = loop.create_future()
        self._end = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.parts.append((time.monotonic(), data))
        text = self._end + data
        self._end = text[-20:]
        if not self.is_open.done() and b"retry: 1000\n\n" in text:
            self.is_open.set_result(None)
        if not self.is_over.done() and b"succeeded" in text:
            self.is_over.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        for waited in (self.is_open, self.is_over):
            if not waited.done():
                waited.set_exception(ConnectionError("the service has closed a stream early"))

    def arrivals(self) -> list[tuple[int, bytes, float]]:
        """Id, type and time of arrival of every event."""
        found, text, times, length = [], b"".join(data for _, data in self.parts), [], 0
        for at, data in self.parts:
            length += len(data)
            times.append((length, at))
        part = 0
        for match in _FRAME.finditer(text):
            while times[part][0] < match.end():
                part += 1
            found.append((int(match[1]), match[2], times[part][1]))
        return found


def _same(reader: _Reader) -> _Reader:
    return reader


@dataclass(frozen=True)
class _Streams:
    """Readers whose streams are over, and when each event was committed."""

    readers: list[_Reader]
    written: dict[int, float]


def write(url: str, job_id: str, count: int) -> dict[int, float]:
    """Reports events of a job as a fast training does, the last one being its end; when each was committed."""
    engine = make_engine(url)
    committed: dict[int, float] = {}
    for start in range(0, count, EVENTS_PER_COMMIT):
        with transaction(engine) as session:
            events = [_event(job_id, k, count) for k in range(start, min(count, start + EVENTS_PER_COMMIT))]
            session.add_all(events)
            session.flush()
            ids = [event.id or 0 for event in events]
        committed |= dict.fromkeys(ids, time.monotonic())
        time.sleep(PAUSE_S)
    engine.dispose()
    return committed


def _event(job_id: str, number: int, count: int) -> Event:
    data: dict[str, Any]
    if number == count - 1:
        type_, data = "state", {"state": "succeeded", "reason": None, "message": None}
    elif number % 20 == 0:
        type_, data = "log", {"level": "info", "message": f"message {number}"}
    elif number % 2:
        type_, data = "progress", {"epoch": 1, "epochs": 10, "step": number, "steps": count, "images_per_s": 1234.5}
    else:
        type_, data = "metrics", {"step": number, "values": {f"train/loss_{k}": number / (k + 3) for k in range(8)}}
    return Event(job_id=job_id, time=datetime.now(UTC), type=type_, data=data)


def list_jobs(port: int, token: str, stop: Any) -> list[float]:
    """Lists jobs until told to stop; how long each answer took."""
    times = []
    connection = http.client.HTTPConnection("127.0.0.1", port)
    while not stop.is_set():
        began = time.monotonic()
        connection.request("GET", f"/jobs?limit={PAGE}", headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
        times.append(time.monotonic() - began)
        time.sleep(0.02)
    connection.close()
    return times
