"""Runs API and worker on one machine as children of a foreground process, and restarts them when they end."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import IO

import httpx

from app.settings import Settings
from app.supervisor.log_files import LogFile

ROOT = Path(__file__).parents[2]
READY_LIMIT_S = 60.0
STOP_LIMIT_S = 15.0
# Longer than the API may take to find out that it is not ready.
PROBE_LIMIT_S = 8.0
LOG_LIMIT_S = 2.0
PR_SET_PDEATHSIG = 1
# Loaded before any fork: loading a library in the child of a process with threads can deadlock.
_LIBC = ctypes.CDLL(None)


class CannotStart(Exception):  # noqa: N818
    """The service cannot be started; the message says why and what to do."""


def commands(settings: Settings) -> dict[str, list[str]]:
    """The command lines of API and worker; `docker-compose.yml` runs the same."""
    python = [sys.executable, "-m"]
    # Once it is loaded, the application sets up the logs by MCN_LOG_LEVEL. A shutdown does not wait for open streams.
    api = f"--host {settings.host} --port {settings.port} --loop uvloop --ws none --no-access-log"
    api += " --http app.http.guarded_protocol:GuardedProtocol --no-proxy-headers --no-server-header"
    api += " --log-level warning --timeout-graceful-shutdown 3 --timeout-keep-alive 30"
    # Celery would print a banner, which is no record of a log.
    worker = "--loglevel warning --without-mingle --without-gossip --without-heartbeat --pool threads --concurrency 2"
    return {
        "api": [*python, "uvicorn", "app.main:create_app", "--factory", *api.split()],
        "worker": [*python, "celery", "--quiet", "-A", "worker.app", "worker", *worker.split()],
    }


class Restarts:
    """When a process that has ended is restarted: at once at first, later with a delay, but always.

    If restarts were given up, the service would not recover from a database that is unreachable for a minute. A
    process that ran for less than `SHORT_RUN_S` counts as a failure; the fourth failure in a row is the first that is
    followed by a delay, which doubles up to `MAX_DELAY_S`.
    """

    SHORT_RUN_S = 10.0
    IMMEDIATE = 3
    MAX_DELAY_S = 10.0

    def __init__(self) -> None:
        self.due_at: float | None = None
        self._started_at = float("-inf")
        self._failures = 0

    def plan(self, at: float) -> float:
        """Record that the process ended at this time; returns the delay in seconds before its restart."""
        self._failures = self._failures + 1 if at - self._started_at < self.SHORT_RUN_S else 0
        excess = self._failures - self.IMMEDIATE
        delay_s = 0.0 if excess < 0 else min(2.0**excess, self.MAX_DELAY_S)
        self.due_at = at + delay_s
        return delay_s

    def is_due(self, at: float) -> bool:
        """Whether the restart is due; if so, it is recorded as done."""
        if self.due_at is None or at < self.due_at:
            return False
        self.due_at, self._started_at = None, at
        return True


class Parts:
    """The processes of the service."""

    def __init__(self, settings: Settings, say: Callable[[str], object]) -> None:
        self._settings = settings
        self._say = say
        self._commands = commands(settings)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._restarts = {name: Restarts() for name in self._commands}
        self._logs = {name: LogFile(settings.data_dir / f"{name}.log") for name in self._commands}

    def start(self, name: str) -> None:
        """Start one process, in a session of its own so that Ctrl-C reaches it only through `stop`."""
        with interrupt_deferred():
            process = subprocess.Popen(
                self._commands[name],
                cwd=ROOT,
                env=os.environ | {"MCN_DATA_DIR": str(self._settings.data_dir), "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        assert process.stdout is not None
        self._logs[name].follow(process.stdout)
        self._processes[name] = process

    def start_all(self) -> None:
        """Start the API, wait until it has migrated the database, then start the worker."""
        self.start("api")
        self._wait_ready()
        self.start("worker")

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + READY_LIMIT_S
        while not is_ready(self._settings):
            if self._processes["api"].poll() is not None or time.monotonic() > deadline:
                log = self._logs["api"]
                log.wait(LOG_LIMIT_S)
                # Not SQLAlchemy's address of a page about errors in general.
                lines = [line for line in log.last_lines(4) if "Background on this error" not in line]
                last_lines = " | ".join(lines[-3:])
                raise CannotStart(
                    f"the API did not start: `mcn doctor` may find out why; {log.path} ends with: {last_lines}"
                )
            time.sleep(0.05)

    def watch(self) -> None:
        """Restart processes that have ended."""
        for name, process in list(self._processes.items()):
            if process.poll() is None:
                continue
            restarts = self._restarts[name]
            if restarts.due_at is None:
                delay_s = restarts.plan(time.monotonic())
                when = "now" if delay_s == 0 else f"in {delay_s:.0f} s; {name}.log in the data folder says why it ended"
                self._say(f"The {name} ended with exit code {process.returncode}; restarting it {when}.")
            if restarts.is_due(time.monotonic()):
                self.start(name)

    def stop(self) -> None:
        """Stop API and worker; training processes keep running."""
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        deadline = time.monotonic() + STOP_LIMIT_S
        for process in self._processes.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for log in self._logs.values():
            log.wait(LOG_LIMIT_S)
            log.close()


def is_ready(settings: Settings) -> bool:
    """Whether the API answers and can use its database."""
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{settings.api_url}/readyz", timeout=PROBE_LIMIT_S).status_code == 200
    return False


@contextlib.contextmanager
def running(settings: Settings, say: Callable[[str], object]) -> Iterator[Parts]:
    """The running service, which is stopped on exit from the context. CannotStart if it does not come up."""
    try:
        settings.make_folders()
    except OSError as error:
        remedy = "set another MCN_DATA_DIR"
        if error.errno == errno.EPERM:
            remedy += f", or make it yours alone: chmod 700 {settings.data_dir}"
        raise CannotStart(f"the data folder {settings.data_dir} is not usable ({error.strerror}): {remedy}") from None
    with _instance_lock(settings):
        _check_address(settings)
        _check_database(settings)
        parts = Parts(settings, say)
        try:
            parts.start_all()
            yield parts
        finally:
            parts.stop()


def wait_for_signal(parts: Parts) -> None:
    """Watch the processes until Ctrl-C or SIGTERM."""
    received: list[int] = []

    def record(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    previous = {number: signal.signal(number, record) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        while not received:
            parts.watch()
            time.sleep(0.3)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def interrupt_deferred() -> Iterator[None]:
    """Delivers a Ctrl-C that arrives in the block at its end.

    Python runs functions of `logging` around a fork and ignores what is raised in them: the interrupt would be lost.
    """
    received: list[int] = []

    def record(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    previous = signal.signal(signal.SIGINT, record)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
        if received:
            signal.raise_signal(signal.SIGINT)


@contextlib.contextmanager
def _instance_lock(settings: Settings) -> Iterator[IO[str]]:
    with (settings.data_dir / "up.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CannotStart(
                f"the service already runs on {settings.data_dir}: stop it, or set another MCN_DATA_DIR and MCN_PORT"
            ) from None
        yield lock


def _check_address(settings: Settings) -> None:
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            is_host = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
            variable = "MCN_HOST: an address of this machine" if is_host else "MCN_PORT"
            raise CannotStart(
                f"cannot listen on {settings.host}:{settings.port} ({error.strerror}): set another {variable}"
            ) from None


def _check_database(settings: Settings) -> None:
    """CannotStart if a PostgreSQL server does not let this service in; the API's log would only have a traceback."""
    url = settings.sqlalchemy_url
    if url.startswith("postgresql"):
        import psycopg

        try:
            psycopg.connect(url.replace("postgresql+psycopg://", "postgresql://", 1), connect_timeout=10).close()
        except psycopg.Error as error:
            reason = str(error).strip().splitlines()[0]
            remedy = "start it, or set another MCN_DATABASE_URL"
            raise CannotStart(f"the database cannot be used ({reason}): {remedy}") from None


def _die_with_parent() -> None:
    """Have Linux send SIGTERM to this process when its parent dies, even by SIGKILL."""
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
