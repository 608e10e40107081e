"""Starts training processes on this machine: each leads a session of its own, with its own log and environment."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from core.run.rundir import AttemptDir

ROOT = Path(__file__).parents[2]


class Starter(Protocol):
    """Starts the training process of an attempt."""

    def start(self, attempt: AttemptDir, environment: Mapping[str, str]) -> int:
        """Starts the process and returns its pid; raises OSError if that is not possible."""

    def reap(self) -> None:
        """Collects the exit codes of processes that have ended, so that they do not stay as zombies."""


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

    def reap(self) -> None:
        for pid, process in list(self._children.items()):
            if process.poll() is not None:
                del self._children[pid]
