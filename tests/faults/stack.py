"""The whole service as processes on this machine, in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Self

import httpx
import psutil
from sqlalchemy import Engine

from app.cli.client import Api
from app.db import make_engine, reading
from app.settings import Settings
from app.supervisor.up import commands
from tests.faults.processes import Part, send, with_words
from tests.faults.servers import Postgres, Redis
from tests.parts import free_port, wait_until
from tests.silent_server import SilentServer
from tests.training_processes import training_processes
from worker import queries

MEMORY_DISK = Path("/dev/shm")
PREFIX = "mcn-faults-"
# A worker counts as lost after this long without news, but not before it counts as offline (30 s).
LOST_S = 3.0
START_LIMIT_S = 240.0


class Form(StrEnum):
    """What a stack is made of."""

    production = "production"  # PostgreSQL, Redis, API and two workers that count as two machines
    cut_off = "cut-off"  # the same, with a proxy between PostgreSQL and the rest
    worker_cut_off = "worker cut-off"  # the same, with a proxy between PostgreSQL and each worker
    embedded = "embedded"  # SQLite, messages in files, API and one worker


class Stack:
    """The parts of a service, started and ended together."""

    def __init__(self, form: Form) -> None:
        self.form = form
        remove_leftovers(MEMORY_DISK)
        self.folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=_fast_disk()))
        # PostgreSQL, which is another user, has its data here too.
        self.folder.chmod(0o755)
        self.postgres: Postgres | None = None
        self.redis: Redis | None = None
        self.proxy: SilentServer | None = None
        # By the name of a worker.
        self.worker_proxies: dict[str, SilentServer] = {}
        database = broker = ""
        if form is not Form.embedded:
            self.postgres, self.redis = Postgres(self.folder / "postgres"), Redis(self.folder)
            database, broker = self.postgres.url, self.redis.url
        self.settings = Settings(
            data_dir=self.folder / "data",
            port=free_port(),
            database_url=database or None,
            broker_url=broker or None,
        )
        if form is Form.cut_off:
            assert self.postgres is not None
            self.proxy = SilentServer(self.postgres.port)
            database = self.postgres.url_at(self.proxy.port)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MCN_")} | {
            "MCN_DATA_DIR": str(self.settings.data_dir),
            "MCN_PORT": str(self.settings.port),
            "MCN_DATABASE_URL": database,
            "MCN_BROKER_URL": broker,
            "MCN_DEVICES": "cpu",
            "MCN_RECONCILE_S": "0.5",
            "MCN_WORKER_LOST_MIN": str(LOST_S / 60),
            "MCN_GRACE_S": "10",
            "PYTHONUNBUFFERED": "1",
        }
        # Whoever is sent there is accepted by the system, and never answered.
        self.deaf = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.deaf_url = f"http://127.0.0.1:{self.deaf.getsockname()[1]}"
        environment |= {"WANDB_BASE_URL": self.deaf_url, "WANDB_API_KEY": "0" * 40}
        lines = commands(self.settings)
        self.api = Part("api", lines["api"], environment, self.folder / "api.log")
        self.workers: list[Part] = []
        for name in ["host-1"] if form is Form.embedded else ["host-1", "host-2"]:
            # PostgreSQL then says whose connection holds a lock.
            own = {"MCN_WORKER_NAME": name, "PGAPPNAME": name}
            if form is Form.worker_cut_off:
                assert self.postgres is not None
                self.worker_proxies[name] = proxy = SilentServer(self.postgres.port)
                own["MCN_DATABASE_URL"] = self.postgres.url_at(proxy.port)
            self.workers.append(Part(name, lines["worker"], environment | own, self.folder / f"{name}.log"))
        self._engine: Engine | None = None

    def __enter__(self) -> Self:
        try:
            if self.postgres is not None and self.redis is not None:
                self.postgres.create()
                self.postgres.start()
                self.redis.start()
            for proxy in self._proxies():
                proxy.__enter__()
            self.api.start()
            wait_until(self.is_ready, "the start of the API", START_LIMIT_S)
            for worker in self.workers:
                worker.start()
            wait_until(self._has_workers, "the start of the workers", START_LIMIT_S)
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self, *, keep: bool = False) -> None:
        """Kills everything; deletes the folder, unless it is to be kept until the next run."""
        parts = [self.api, *self.workers, *([self.redis] if self.redis else [])]
        for part in parts:
            part.kill()
        send(signal.SIGKILL, [*with_words("worker.training", str(self.settings.data_dir)), *self.training()])
        if self._engine is not None:
            self._engine.dispose()
        for proxy in self._proxies():
            proxy.silent.clear()
            with contextlib.suppress(RuntimeError):
                proxy.__exit__()
        self.deaf.close()
        if self.postgres is not None:
            self.postgres.remove()
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def engine(self) -> Engine:
        """The database, straight to its server."""
        if self._engine is None:
            self._engine = make_engine(self.settings.sqlalchemy_url)
        return self._engine

    def is_ready(self) -> bool:
        """Whether the API answers and can use its database."""
        assert self.api.is_running, self.api.log.read_text()[-2000:]
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.settings.api_url}/readyz", timeout=5.0).status_code == 200
        return False

    def _has_workers(self) -> bool:
        with contextlib.closing(Api(self.settings)) as api:
            alive = {worker["host"] for worker in api.get("/cluster")["workers"] if worker["alive"]}
        return alive == {worker.name for worker in self.workers}

    def _proxies(self) -> list[SilentServer]:
        return [*([self.proxy] if self.proxy else []), *self.worker_proxies.values()]

    def heal(self) -> None:
        """Starts what does not run and continues what is stopped."""
        servers: list[Part] = [server for server in (self.postgres, self.redis) if server is not None]
        for part in [*servers, self.api, *self.workers]:
            part.proceed()
            part.start()

    def training(self, worker: Part | None = None, job_id: str = "*") -> list[psutil.Process]:
        """The training processes, of one worker, of one job or of all."""
        if worker is None:
            return training_processes(self.settings.runs_dir, job_id)
        with reading(self.engine) as session:
            jobs = [attempt.job_id for attempt, _, _ in queries.unfinished_attempts(session, "local", worker.name)]
        return [process for job in jobs for process in self.training(job_id=job)]

    def starters(self) -> list[psutil.Process]:
        """The warm starters; the processes that they have forked have the same command lines."""
        alike = with_words("worker.training.warm", str(self.settings.data_dir))
        trains = {process.pid for process in self.training()}
        pids = {process.pid for process in alike}
        return [process for process in alike if process.pid not in trains and process.ppid() not in pids]


def remove_leftovers(disk: Path) -> None:
    """Removes what runs that were killed, or that kept a folder, have left in memory."""
    for folder in disk.glob(f"{PREFIX}[0-9]*-*"):
        owner = int(folder.name.removeprefix(PREFIX).partition("-")[0])
        if psutil.pid_exists(owner):
            continue
        send(signal.SIGKILL, _processes_of(folder))
        # Not mounted if the run was not root's, or ended well.
        subprocess.run(["umount", "--lazy", str(folder / "postgres")], capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def _processes_of(folder: Path) -> list[psutil.Process]:
    """The processes whose command lines or environments name a folder, and their children, such as image readers."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(str(folder) in text for text in (*process.cmdline(), *process.environ().values())):
                found += [process, *process.children(recursive=True)]
    return found


def _fast_disk() -> Path | None:
    """A folder in memory, if there is room: processes are killed here and not the machine, so no disk is needed."""
    has_room = MEMORY_DISK.is_dir() and shutil.disk_usage(MEMORY_DISK).free > 2 << 30
    return MEMORY_DISK if has_room else None
