"""Starts training processes on this machine: each leads a session of its own, with its own log and environment."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from app.settings import Settings
from core.run.code import code_status
from core.run.rundir import AttemptDir

ROOT = Path(__file__).parents[2]
# How long the warm process may take to fork; after that the attempt is started cold.
ANSWER_LIMIT_S = 5.0
# As in `worker.training.warm`.
EXIT_REQUEST = "exit"


class Starter(Protocol):
    """Starts the training process of an attempt."""

    def start(self, attempt: AttemptDir, environment: Mapping[str, str]) -> int:
        """Starts the process and returns its pid; raises OSError if that is not possible."""

    def reap(self) -> None:
        """Collects the exit codes of processes that have ended, so that they do not stay as zombies."""

    def close(self) -> None:
        """Ends helpers of the starter; training processes are not affected."""


class ColdStarter:
    """Starts a new interpreter for every attempt."""

    def __init__(self) -> None:
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, attempt: AttemptDir, environment: Mapping[str, str]) -> int:
        attempt.path.mkdir(parents=True, exist_ok=True)
        with attempt.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "worker.training.main", str(attempt.run.path), str(attempt.number)],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._children[process.pid] = process
        return process.pid

    def close(self) -> None:
        pass

    def reap(self) -> None:
        for pid, process in list(self._children.items()):
            if process.poll() is not None:
                del self._children[pid]


class WarmStarter:
    """Has a process that has imported everything fork the training process; falls back to a cold start.

    The warm process is started together with the first attempt and exits after ten idle minutes, or once the code has
    changed; the next attempt then starts another one. No attempt waits for it to be ready.
    """

    def __init__(self, folder: Path, host: str) -> None:
        self._folder = folder
        self._host = host
        self._log = folder / "warm.log"
        self._path = self._current_path()
        self._cold = ColdStarter()
        self._process: subprocess.Popen[bytes] | None = None
        self._retired: list[subprocess.Popen[bytes]] = []

    def _current_path(self) -> Path:
        """One name for each host and version of the code: no job runs in a process that has imported an older one.

        If the path is too long for a socket address, every start is cold.
        """
        version = f"{self._host} {sys.executable} {code_status([ROOT / 'core', ROOT / 'worker'])}"
        return self._folder / f"warm-{hashlib.sha256(version.encode()).hexdigest()[:8]}.sock"

    def start(self, attempt: AttemptDir, environment: Mapping[str, str]) -> int:
        path = self._current_path()
        if path != self._path:
            self.close()
            self._retired += [self._process] if self._process else []
            self._path, self._process = path, None
        pid = self._fork(attempt, environment)
        if pid is not None:
            return pid
        self._ensure_running(environment)
        return self._cold.start(attempt, environment)

    def _fork(self, attempt: AttemptDir, environment: Mapping[str, str]) -> int | None:
        """The pid of the forked process; None if no warm process answers."""
        request = {"run_dir": str(attempt.run.path), "attempt": attempt.number, "environment": dict(environment)}
        try:
            return int(json.loads(self._request(request))["pid"])
        except (OSError, ValueError, KeyError, TypeError):
            # If it has forked after all, the claim of the attempt lets only one of the two processes run.
            return None

    def _request(self, request: object) -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(ANSWER_LIMIT_S)
            connection.connect(str(self._path))
            connection.sendall(json.dumps(request).encode() + b"\n")
            return connection.makefile("rb").readline()

    def _ensure_running(self, environment: Mapping[str, str]) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        without_devices = {name: value for name, value in environment.items() if name != "CUDA_VISIBLE_DEVICES"}
        with contextlib.suppress(OSError), self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "worker.training.warm", str(self._path)],
                cwd=ROOT,
                env=without_devices,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def reap(self) -> None:
        self._cold.reap()
        if self._process is not None:
            self._process.poll()
        self._retired = [process for process in self._retired if process.poll() is None]

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._request(EXIT_REQUEST)
        if self._process is not None and self._process.poll() is None:
            # It may still be importing, and not listen yet.
            self._process.terminate()


def make_starter(settings: Settings, host: str) -> Starter:
    """A warm starter, unless the settings switch it off."""
    return WarmStarter(settings.data_dir, host) if settings.warm_start else ColdStarter()
