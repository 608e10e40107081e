"""Faults of PostgreSQL and SQLite."""

from __future__ import annotations

import signal
import subprocess
import sys

import psutil

from tests.faults.api_faults import BURST
from tests.faults.fault import Fault, Scene, restart
from tests.faults.processes import send
from tests.faults.servers import Postgres
from tests.faults.stack import Form, Stack
from tests.silent_server import SilentServer

_LOCK = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
time.sleep(600)
"""


def _server(scene: Scene) -> Postgres:
    assert scene.stack.postgres is not None
    return scene.stack.postgres


def _proxy(scene: Scene) -> SilentServer:
    assert scene.stack.proxy is not None
    return scene.stack.proxy


def kill(scene: Scene) -> None:
    _server(scene).kill()


def kill_one_connection(scene: Scene) -> None:
    """The server then ends every connection and recovers by itself."""
    children = psutil.Process(_server(scene).pid).children()
    busy = [child for child in children if " mcn " in " ".join(child.cmdline())]
    send(signal.SIGKILL, [scene.chance.choice(busy)] if busy else [])


def stop(scene: Scene) -> None:
    _server(scene).stop()


def cut_off(scene: Scene) -> None:
    _proxy(scene).silent.set()


def connect_again(scene: Scene) -> None:
    _proxy(scene).silent.clear()


def fill_disk(scene: Scene) -> None:
    _server(scene).fill_disk(also_log=scene.chance.random() < 0.5)


def free_disk(scene: Scene) -> None:
    _server(scene).free_disk()
    restart(scene)


def no_small_disk(stack: Stack) -> str | None:
    assert stack.postgres is not None
    return None if stack.postgres.has_small_disk else "a small disk can be mounted by root only"


def lock(scene: Scene) -> None:
    """Another process, such as a backup, holds the lock of SQLite's writers."""
    command = [sys.executable, "-c", _LOCK, str(scene.stack.settings.data_dir / "mcn.db")]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"locked\n"
    scene.memory["holder"] = holder


def unlock(scene: Scene) -> None:
    holder: subprocess.Popen[bytes] = scene.memory["holder"]
    holder.kill()
    holder.communicate()


def kill_writers(scene: Scene) -> None:
    """Everything that writes to the database dies at once."""
    parts = (scene.stack.api, *scene.stack.workers)
    for part in parts:
        part.signal(signal.SIGKILL)
    for part in parts:
        part.kill()


DATABASE_FAULTS: dict[str, Fault] = {
    "postgres-killed": Fault("SIGKILL of every process of PostgreSQL", kill, is_quick=True),
    "postgres-connection-killed": Fault("SIGKILL of one connection's process", kill_one_connection),
    "postgres-stopped": Fault("PostgreSQL stands still for seconds", stop, holds_s=(1.0, 6.0), is_quick=True),
    "postgres-stopped-long": Fault("PostgreSQL stands still for longer than a query may take", stop, holds_s=(13, 20)),
    "postgres-stopped-a-minute": Fault("PostgreSQL stands still for a minute", stop, holds_s=(60.0, 60.0)),
    "postgres-cut-off": Fault(
        "connections to PostgreSQL stay open and carry nothing",
        cut_off,
        connect_again,
        form=Form.cut_off,
        holds_s=(1.0, 16.0),
    ),
    "postgres-disk-full": Fault(
        "the disk of PostgreSQL is full", fill_disk, free_disk, holds_s=(2.0, 6.0), lacks=no_small_disk
    ),
    "sqlite-writers-killed": Fault(
        "SIGKILL of API and worker while they write to SQLite",
        kill_writers,
        form=Form.embedded,
        within_s=1.0,
        jobs=BURST,
        is_burst=True,
        controls=0.6,
        is_quick=True,
    ),
    "sqlite-locked": Fault(
        "another process locks SQLite for seconds",
        lock,
        unlock,
        form=Form.embedded,
        holds_s=(1.0, 6.0),
        is_quick=True,
    ),
}
