"""A process of a part of the service, which can be killed, stopped and started again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]


class Part:
    """One part of the service as a child process, with its own log."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.command = list(command)
        self.environment = dict(environment)
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The id of its latest process."""
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether its process has not ended; a stopped one has not."""
        return self._process is not None and self._process.poll() is None

    def start(self, **environment: str) -> None:
        """Starts the process unless it runs, with some more variables."""
        if self.is_running:
            return
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=self.environment | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        """Sends SIGKILL and waits until the process is gone."""
        if self.is_running:
            self.signal(signal.SIGKILL)
            assert self._process is not None
            self._process.wait()

    def terminate(self, limit_s: float = 30.0) -> None:
        """Sends SIGTERM and waits until the process has ended."""
        if self.is_running:
            assert self._process is not None
            self.proceed()
            os.kill(self.pid, signal.SIGTERM)
            try:
                self._process.wait(limit_s)
            except subprocess.TimeoutExpired:
                self.kill()

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the process; not to its children, which lead sessions of their own."""
        if self.is_running:
            os.kill(self.pid, number)

    def stop(self) -> None:
        """Stops the process as a debugger would: it keeps its connections and locks, and does nothing."""
        self.signal(signal.SIGSTOP)

    def proceed(self) -> None:
        """Continues a stopped process."""
        self.signal(signal.SIGCONT)


class Tree(Part):
    """A part whose process has children that belong to it."""

    def signal(self, number: signal.Signals) -> None:
        if self.is_running:
            # The parent first when it is to be stopped or killed, so that it replaces no child.
            send(number, [psutil.Process(self.pid), *psutil.Process(self.pid).children(recursive=True)])


def send(number: signal.Signals, processes: Iterable[psutil.Process]) -> None:
    """Sends a signal to processes, some of which may have ended."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            process.send_signal(number)


def has_ended(process: psutil.Process) -> bool:
    """Whether a process has ended; its worker may wait for it only when it starts the next one."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def with_words(*words: str) -> list[psutil.Process]:
    """The running processes whose command lines contain all of these words."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            line = " ".join(process.cmdline())
            if all(word in line for word in words) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found
