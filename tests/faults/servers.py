"""PostgreSQL and Redis of a stack of its own: unlike those of other tests, these may be killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import psycopg
import redis

from tests.faults.processes import Part, Tree
from tests.machine import find
from tests.parts import free_port, wait_until

# For the disk of PostgreSQL, so that it can be full.
DISK_MB = 120


def missing_programs() -> list[str]:
    """The programs that a stack needs and this machine does not have."""
    return [program for program in ("initdb", "redis-server") if find(program) is None]


class Postgres(Tree):
    """A PostgreSQL server; as root, its data is on a small file system."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        # It refuses to run as root.
        self._as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if _is_root() else []
        self.has_small_disk = False
        program = str(Path(find("initdb") or "").with_name("postgres"))
        settings = [f"port={self.port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={folder}"]
        # It may be killed, but the machine is not, so nothing needs to be flushed to its disk.
        settings += ["fsync=off", "shared_buffers=16MB", "min_wal_size=4MB", "max_wal_size=16MB"]
        words = [word for setting in settings for word in ("-c", setting)]
        command = [*self._as_user, program, "-D", str(folder / "data"), *words]
        super().__init__("PostgreSQL", command, os.environ, folder.with_suffix(".log"))

    @property
    def url(self) -> str:
        """The address as a setting of the service has it."""
        return self.url_at(self.port)

    def url_at(self, port: int) -> str:
        """The address behind a proxy on another port."""
        return f"postgresql://mcn@127.0.0.1:{port}/postgres"

    def create(self) -> None:
        """Makes the data folder."""
        self.folder.mkdir()
        if _is_root():
            mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=755", "tmpfs", str(self.folder)]
            self.has_small_disk = subprocess.run(mount, capture_output=True).returncode == 0
            shutil.chown(self.folder, "postgres", "postgres")
        options = ["-A", "trust", "-U", "mcn", "-E", "UTF8", "--no-sync", "--wal-segsize=1"]
        command = [*self._as_user, find("initdb") or "", "-D", str(self.folder / "data"), *options]
        subprocess.run(command, check=True, capture_output=True)

    def start(self, **environment: str) -> None:
        super().start(**environment)
        wait_until(self.answers, "the start of PostgreSQL")

    def answers(self) -> bool:
        """Whether it takes connections; starts it again if it has given up."""
        super().start()
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(self.url, connect_timeout=2).close()
            return True
        return False

    def fill_disk(self, *, also_log: bool) -> None:
        """Writes a file until the disk is full; or until the write-ahead log is full too, which ends the server."""
        with contextlib.suppress(OSError), self._filler.open("ab", buffering=0) as file:
            while file.write(bytes(4096)) > 0:
                pass
        message = "SELECT pg_logical_emit_message(false, 'filler', repeat('x', 1000000))"
        with contextlib.suppress(psycopg.Error), psycopg.connect(self.url, connect_timeout=2, autocommit=True) as one:
            for _ in range(DISK_MB if also_log else 0):
                one.execute(message)

    def free_disk(self) -> None:
        """Deletes that file."""
        self._filler.unlink(missing_ok=True)

    @property
    def _filler(self) -> Path:
        return self.folder / "filler"

    def remove(self) -> None:
        """Ends the server and removes what is mounted."""
        self.kill()
        if self.has_small_disk:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True)


class Redis(Part):
    """A Redis server that keeps nothing on disk."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        words = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        super().__init__("Redis", [find("redis-server") or "", *words], os.environ, folder / "redis.log")

    @property
    def url(self) -> str:
        """The address as a setting of the service has it."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, **environment: str) -> None:
        super().start(**environment)
        wait_until(self.answers, "the start of Redis")

    def answers(self) -> bool:
        """Whether it answers."""
        with contextlib.suppress(redis.RedisError), self.client() as client:
            return bool(client.ping())
        return False

    def client(self) -> redis.Redis:
        """A connection to it."""
        return redis.Redis(port=self.port, socket_timeout=5.0)


def _is_root() -> bool:
    return os.geteuid() == 0
