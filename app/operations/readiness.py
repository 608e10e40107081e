"""Whether the service can do its work, and what is missing: the parts behind `GET /readyz`.

The route needs no token, so that nothing here names hosts, paths or versions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool

from app.db import is_current, reading
from app.jobs.disk_space import disk_space, is_writable
from app.operations.broker import broker_trouble
from app.operations.queries import has_live_worker
from app.settings import Settings

# Of all parts together: whoever probes has a limit as well.
LIMIT_S = 4.0


@dataclass(frozen=True)
class Part:
    """A part of the service; `detail` says what is missing. Without one that is not `required`, it is ready still."""

    name: str
    ok: bool = True
    detail: str = ""
    required: bool = True


class Readiness:
    """Checks all parts at the same time, and each at most once at a time, however many clients ask."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._checks: dict[str, Callable[[], list[Part]]] = {
            "database": partial(check_database, engine),
            "broker": partial(check_broker, settings),
            "disk": partial(check_disk, settings),
        }
        # One that hangs, on a file system that does not answer for example, takes one thread and not one per request.
        self._running: dict[str, asyncio.Task[list[Part]]] = {}

    async def parts(self) -> list[Part]:
        """The state of all parts, within `LIMIT_S`."""
        tasks = {name: self._running.get(name) or self._start(name) for name in self._checks}
        await asyncio.wait(tasks.values(), timeout=LIMIT_S)
        parts: list[Part] = []
        for name, task in tasks.items():
            parts += task.result() if task.done() else [Part(name, False, f"did not answer within {LIMIT_S:g} s")]
        return parts

    def _start(self, name: str) -> asyncio.Task[list[Part]]:
        task = self._running[name] = asyncio.create_task(run_in_threadpool(self._checks[name]))
        task.add_done_callback(lambda _: self._running.pop(name))
        return task


def check_database(engine: Engine) -> list[Part]:
    """The database, its migrations, and the heartbeats that it has of workers."""
    try:
        if not is_current(engine):
            return [Part("database"), Part("migrations", False, "are not up to date: run `mcn db upgrade`")]
        with reading(engine) as session:
            has_worker = has_live_worker(session)
    except Exception:  # whatever the database's trouble is, the service is not ready
        return [Part("database", False, "is not reachable")]
    worker = Part("worker", has_worker, "" if has_worker else "none is alive: jobs wait for one", required=False)
    return [Part("database"), Part("migrations"), worker]


def check_broker(settings: Settings) -> list[Part]:
    """The broker."""
    ok = broker_trouble(settings) is None
    return [Part("broker", ok, "" if ok else "is not reachable: jobs start some seconds later", required=False)]


def check_disk(settings: Settings) -> list[Part]:
    """The data folder: it must be writable, and should have space for new jobs."""
    try:
        is_low = disk_space(settings).is_low
    except OSError:
        return [Part("disk", False, "the data folder is not there")]
    if not is_writable(settings.data_dir):
        return [Part("disk", False, "the data folder cannot be written")]
    if not is_writable(settings.runs_dir):
        return [Part("disk", False, "the run directories cannot be written: no job starts", required=False)]
    # A full disk is no reason to refuse requests: one of them may delete what fills it.
    detail = "is nearly full: no job starts until old ones have been deleted" if is_low else ""
    return [Part("disk", not is_low, detail, required=False)]
