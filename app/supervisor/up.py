"""The service on one machine: API and worker as one foreground tree."""

from __future__ import annotations

import contextlib
import ctypes
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

ROOT = Path(__file__).parents[2]
READY_LIMIT_S = 60.0
STOP_LIMIT_S = 15.0


class CannotStart(Exception):  # noqa: N818
    """Why the service cannot be started, in a sentence for a person."""


def commands(settings: Settings) -> dict[str, list[str]]:
    """What the parts run, as words; `docker-compose.yml` runs the same."""
    python = [sys.executable, "-m"]
    # No more noise than warnings, and a stop that does not wait for open streams.
    api = f"--host {settings.host} --port {settings.port} --loop uvloop --http httptools --no-access-log"
    api += " --no-proxy-headers --no-server-header"
    api += " --log-level warning --timeout-graceful-shutdown 3 --timeout-keep-alive 30"
    worker = "--loglevel warning --without-mingle --without-gossip --without-heartbeat --pool threads --concurrency 2"
    return {
        "api": [*python, "uvicorn", "app.main:create_app", "--factory", *api.split()],
        "worker": [*python, "celery", "-A", "worker.app", "worker", *worker.split()],
    }


class Restarts:
    """When a part that has ended is started again: at once, unless it has kept ending; and never not at all.

    A database that is away for a minute would otherwise leave nothing that could use it when it is back.
    """

    SOON_S = 10.0
    AT_ONCE = 3
    MOST_S = 10.0

    def __init__(self) -> None:
        self.due_at: float | None = None
        self._started_at = float("-inf")
        self._in_a_row = 0

    def plan(self, at: float) -> float:
        """Takes note of an end; gives the seconds to wait, none for the first ends soon after a start."""
        self._in_a_row = self._in_a_row + 1 if at - self._started_at < self.SOON_S else 0
        late = self._in_a_row - self.AT_ONCE
        delay_s = 0.0 if late < 0 else min(2.0**late, self.MOST_S)
        self.due_at = at + delay_s
        return delay_s

    def is_due(self, at: float) -> bool:
        """Whether it is to be started now; then it counts as started."""
        if self.due_at is None or at < self.due_at:
            return False
        self.due_at, self._started_at = None, at
        return True


class Parts:
    """The processes of the service; one that dies is started again."""

    def __init__(self, settings: Settings, say: Callable[[str], object]) -> None:
        self._settings = settings
        self._say = say
        self._commands = commands(settings)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._restarts = {name: Restarts() for name in self._commands}

    def start(self, name: str) -> None:
        """Starts one part, in a session of its own: Ctrl-C is for us to pass on."""
        log = (self._settings.data_dir / f"{name}.log").open("ab")
        with log:
            self._processes[name] = subprocess.Popen(
                self._commands[name],
                cwd=ROOT,
                env=os.environ | {"MCN_DATA_DIR": str(self._settings.data_dir), "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    def start_all(self) -> None:
        """Starts the API, waits until it has made the database, then starts the worker."""
        self.start("api")
        self._wait_ready()
        self.start("worker")

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + READY_LIMIT_S
        while not is_ready(self._settings):
            if self._processes["api"].poll() is not None or time.monotonic() > deadline:
                log = self._settings.data_dir / "api.log"
                tail = log.read_text(errors="replace").strip().splitlines()[-3:]
                raise CannotStart(f"the API did not start; {log} ends with: " + " | ".join(tail))
            time.sleep(0.05)

    def watch(self) -> None:
        """Starts again what has died."""
        for name, process in list(self._processes.items()):
            if process.poll() is None:
                continue
            restarts = self._restarts[name]
            if restarts.due_at is None:
                delay_s = restarts.plan(time.monotonic())
                again = "again" if delay_s == 0 else f"again in {delay_s:.0f} s; {name}.log in the data folder says why"
                self._say(f"The {name} ended (exit code {process.returncode}); it is started {again}.")
            if restarts.is_due(time.monotonic()):
                self.start(name)

    def stop(self) -> None:
        """Ends all parts; training processes are not among them."""
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


def is_ready(settings: Settings) -> bool:
    """Whether an API answers there, and can use its database."""
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{settings.api_url}/readyz", timeout=2.0).status_code == 200
    return False


@contextlib.contextmanager
def running(settings: Settings, say: Callable[[str], object]) -> Iterator[Parts]:
    """The service, up and ready; ended on leaving. Raises CannotStart."""
    try:
        settings.make_folders()
    except OSError as error:
        said = f"the data folder {settings.data_dir} cannot be used ({error.strerror}): set MCN_DATA_DIR to another"
        raise CannotStart(said) from None
    with _only_one(settings) as _:
        _check_port(settings)
        parts = Parts(settings, say)
        try:
            parts.start_all()
            yield parts
        finally:
            parts.stop()


def wait_for_signal(parts: Parts) -> None:
    """Watches the parts until Ctrl-C or SIGTERM."""
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        while not received:
            parts.watch()
            time.sleep(0.3)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _only_one(settings: Settings) -> Iterator[IO[str]]:
    with (settings.data_dir / "up.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CannotStart(
                f"the service already runs on {settings.data_dir}: end it, or give another MCN_DATA_DIR and MCN_PORT"
            ) from None
        yield lock


def _check_port(settings: Settings) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise CannotStart(
                f"{settings.host}:{settings.port} cannot be listened on ({error.strerror}): give another MCN_PORT"
            ) from None


def _die_with_parent() -> None:
    """Where the parent is killed without a chance to end its parts, Linux ends them (PR_SET_PDEATHSIG is 1)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)
