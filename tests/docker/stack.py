"""The service in containers: a copy of the project, and the engine that runs what docs/production.md says in it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.cli.client import TERMINAL_STATES, Api
from app.settings import Settings
from tests.docker.files import ROOT
from tests.parts import free_port, wait_until

LIMIT_S = 300.0
IMAGE = "mcn-fusion-test"
# Images that the services are made of, and that an engine has to have or to be able to fetch.
BASES = ("python:3.11-slim", "postgres:17", "redis:7")


def engine_says(*words: str) -> str | None:
    """What `docker WORDS` prints; None without Docker, without an engine, or if it fails."""
    try:
        done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


class Stack:
    """One project of Compose with volumes, an image and a port of its own, beside any other on this machine."""

    def __init__(self, folder: Path, say: Callable[[str], object], project: str = "mcn-test") -> None:
        self.project = project
        self.folder = folder / "checkout"
        self.port, self.tls_port = free_port(), free_port()
        self.torch = os.environ.get("MCN_TORCH", "cpu")
        self.steps: list[tuple[str, float]] = []
        self.say = say
        self._override = folder / "override.yml"
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("MCN_", "COMPOSE_"))},
            "COMPOSE_PROJECT_NAME": project,
            "COMPOSE_FILE": f"docker-compose.yml:{self._override}",
            "MCN_PORT": str(self.port),
            "MCN_TORCH": self.torch,
        }

    @classmethod
    def for_module(cls, folders: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Stack:
        """A project that says at once what it does, and begins without what an interrupted test has left."""
        capture = request.config.pluginmanager.getplugin("capturemanager")
        assert capture

        def say(line: str) -> None:
            with capture.global_and_fixture_disabled():
                print(line, flush=True)

        made = cls(folders.mktemp("docker"), say)
        made.remove()
        return made

    def check_out(self, revision: str | None) -> None:
        """Puts a revision, or the files as they are now, into the folder; the .env stays."""
        self.folder.mkdir(exist_ok=True)
        for path in self.folder.iterdir():
            if path.name != ".env":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        if revision:
            archive = subprocess.run(
                ["git", "-c", "tar.umask=0022", "archive", revision], cwd=ROOT, capture_output=True, check=True
            ).stdout
            subprocess.run(["tar", "-x"], cwd=self.folder, input=archive, check=True)
        else:
            listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
            names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True, text=True).stdout.split("\0")
            for name in names:
                if name and (ROOT / name).is_file() and not (ROOT / name).is_symlink():
                    (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(ROOT / name, self.folder / name)
        self._override_what_is_shared()

    def _override_what_is_shared(self) -> None:
        """The names that another project of Compose on this machine may use, and the network of the build."""
        services = yaml.safe_load((self.folder / "docker-compose.yml").read_text())["services"]
        network = {"build": {"network": os.environ.get("MCN_DOCKER_BUILD_NETWORK", "default")}}
        overrides: dict[str, dict[str, Any]] = {
            name: {"image": IMAGE, **(network if "build" in service else {})}
            for name, service in services.items()
            if service["image"] == "mcn-fusion"
        }
        overrides["worker"]["container_name"] = f"{self.project}-worker"
        text = yaml.safe_dump({"services": overrides})
        if "tls" in services:
            text += f'  tls: {{ports: !override ["127.0.0.1:{self.tls_port}:443"]}}\n'
        self._override.write_text(text)

    def read_too(self, name: str) -> None:
        """Lets Compose read another file of the folder, which it would find by itself without those of the test."""
        self._environment["COMPOSE_FILE"] += f":{name}"

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measures the time of a step and says it."""
        start = time.monotonic()
        yield
        self.steps.append((name, time.monotonic() - start))
        self.say(f"{self.steps[-1][1]:7.1f} s  {name}")

    def run(self, *lines: str) -> str:
        """Runs lines in the folder as a user does, and returns what they print; each of them has to succeed."""
        script = "\n".join(["set -eo pipefail", *lines])
        done = subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=self._environment, capture_output=True, text=True, timeout=1800
        )
        assert done.returncode == 0, f"{script}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def runs(self, line: str) -> bool:
        """Whether a line succeeds."""
        done = subprocess.run(["bash", "-c", line], cwd=self.folder, env=self._environment, capture_output=True)
        return done.returncode == 0

    @contextmanager
    def api(self) -> Iterator[Api]:
        """A client on this machine with the token of the volume."""
        token = self.run("docker compose exec -T api cat /data/admin-token").strip()
        api = Api(Settings(url=f"http://127.0.0.1:{self.port}", token=token))
        try:
            yield api
        finally:
            api.close()

    def job(self, job_id: str) -> dict[str, Any]:
        with self.api() as api:
            return dict(api.get(f"/jobs/{job_id}"))

    def attempts(self, job_id: str) -> list[dict[str, Any]]:
        with self.api() as api:
            return list(api.get(f"/jobs/{job_id}/attempts")["items"])

    def last_step(self, job_id: str) -> int:
        with self.api() as api:
            return int(api.get(f"/jobs/{job_id}/metrics")["latest"].get("train/loss_total", {"step": 0})["step"])

    def wait_steps(self, job_id: str, number: int = 100) -> int:
        """Waits until a job has done this many steps more, and returns the last one."""
        first = self.last_step(job_id)
        wait_until(lambda: self.last_step(job_id) >= first + number, f"training of {job_id}", LIMIT_S)
        return self.last_step(job_id)

    def wait_attempt(self, job_id: str, number: int) -> dict[str, Any]:
        """Waits until an attempt has resumed from a checkpoint, and returns it."""

        def resumed() -> bool:
            found = self.attempts(job_id)
            return len(found) == number and found[-1]["resumed_from_step"] is not None

        wait_until(resumed, f"attempt {number} of {job_id}", LIMIT_S)
        return self.attempts(job_id)[-1]

    def wait_ended(self, job_id: str) -> str:
        with self.api() as api:
            wait_until(lambda: api.get(f"/jobs/{job_id}")["state"] in TERMINAL_STATES, f"end of {job_id}", LIMIT_S)
            return str(api.get(f"/jobs/{job_id}")["state"])

    def containers(self) -> dict[str, Any]:
        """What the engine knows of every container, by its service."""
        ids = self.run("docker compose ps -q").split()
        found = json.loads(self.run(f"docker inspect {' '.join(ids)}")) if ids else []
        return {one["Config"]["Labels"]["com.docker.compose.service"]: one for one in found}

    def memory(self) -> dict[str, str]:
        """What every container uses, by its service."""
        names = {one["Name"].removeprefix("/"): service for service, one in self.containers().items()}
        listing = self.run("docker stats --no-stream --format '{{.Name}} {{.MemUsage}}' " + " ".join(names))
        return {names[line.split()[0]]: line.split()[1] for line in listing.splitlines()}

    def untagged_images(self) -> list[str]:
        """Images that builds of this project left without a name."""
        label = f"label=com.docker.compose.project={self.project}"
        return self.run(f"docker image ls -q --filter dangling=true --filter {label}").split()

    def image_size_gb(self) -> float:
        return int(self.run("docker image inspect --format '{{.Size}}' " + IMAGE)) / 1e9

    def remove(self) -> None:
        """Removes containers, volumes and images of this project, also those of a test that was interrupted."""
        mine = f"label=com.docker.compose.project={self.project}"
        for kind, listing in (("container", ["--all"]), ("volume", []), ("network", []), ("image", [])):
            found = (engine_says(kind, "ls", "-q", *listing, "--filter", mine) or "").split()
            if found:
                engine_says(kind, "rm", "--force", *found)


# What the Dockerfile copies.
IN_IMAGE = ("app", "core", "worker", "migrations", "examples", "requirements.lock", "pyproject.toml", "README.md")


def previous_revision() -> str:
    """What to upgrade from: $MCN_UPGRADE_FROM, the latest tag, or the latest commit whose image is another one."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout.strip()

    chosen = (
        os.environ.get("MCN_UPGRADE_FROM")
        or git("describe", "--tags", "--abbrev=0", "HEAD~1")
        # Compose keeps a container whose image is the same, and then nothing would be upgraded.
        or git("rev-parse", git("rev-list", "-1", "HEAD", "--", *IN_IMAGE) + "~1")
    )
    assert re.fullmatch(r"[\w./-]+", chosen), "set MCN_UPGRADE_FROM to the revision from which to upgrade"
    return chosen
