"""A worker that dies at a point between claiming a job and knowing its Slurm id.

`python -m tests.slurm.dying POINT` with the service's environment. Nothing in the worker knows of this.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from submitit.core.utils import CommandFunction

from core.run.protocol import Task
from tests.slurm.service import slurm_of
from worker import claims, queries
from worker.context import worker_context
from worker.executors.slurm import submission
from worker.reconcile import start_all


def die(*_: Any, **__: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def then_die(before: Callable[..., Any]) -> Callable[..., Any]:
    def call(*words: Any, **named: Any) -> Any:
        before(*words, **named)
        die()

    return call


def start_and_die(command: CommandFunction) -> Any:
    subprocess.Popen(command.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    die()


# Where it dies: what is replaced, and by what.
POINTS: dict[str, tuple[Any, str, Callable[..., Any]]] = {
    "claimed": (Task, "write", die),
    "task written": (submission, "sbatch", die),
    "script written": (CommandFunction, "__call__", die),
    "sbatch started": (CommandFunction, "__call__", start_and_die),
    "accepted": (CommandFunction, "__call__", then_die(CommandFunction.__call__)),
    "id known": (claims, "_record_handles", die),
    "in the transaction": (queries, "update_attempt", then_die(queries.update_attempt)),
    "committed": (claims, "_record_handles", then_die(claims._record_handles)),
}


def main() -> None:
    place, name, replacement = POINTS[sys.argv[1]]
    setattr(place, name, replacement)
    context = worker_context()
    slurm_of(context).cluster.poll()
    start_all(context)


if __name__ == "__main__":
    main()
