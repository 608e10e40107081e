"""The units for systemd: checked by it, and what they start is started here."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from app.cli.client import Api, ApiError
from app.settings import Settings
from app.supervisor.up import commands
from tests.docker import page
from tests.docker.files import PARTS, ROOT, clean_environment
from tests.e2e.running import fusion
from tests.parts import free_port, need, wait_until
from tests.training_processes import training_processes

UNITS = {part: (ROOT / f"docs/systemd/mcn-{part}.service").read_text() for part in PARTS}
PYTHON = "/srv/mcn/.venv/bin/python"
LIMIT_S = 240.0


def values(part: str, key: str) -> list[str]:
    return [line.partition("=")[2] for line in UNITS[part].splitlines() if line.startswith(f"{key}=")]


def words(part: str, key: str = "ExecStart") -> list[str]:
    [line] = values(part, key)
    return shlex.split(line)


@pytest.mark.parametrize("part", PARTS)
def test_a_unit_runs_the_command_of_mcn_up(part: str) -> None:
    assert words(part) == [PYTHON, *commands(Settings())[part][1:]]


def test_systemd_finds_no_mistake_in_the_units(tmp_path: Path) -> None:
    need("systemd", "systemd-analyze")
    files = []
    for part, unit in UNITS.items():
        # Programs and folders of the units are not on this machine.
        here = unit.replace(PYTHON, sys.executable).replace("/srv/mcn", str(ROOT)).replace("User=mcn", "User=root")
        files.append(tmp_path / f"mcn-{part}.service")
        files[-1].write_text(here)
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *files], capture_output=True, text=True)
    said = [line for line in (done.stdout + done.stderr).splitlines() if "mcn-" in line]
    assert (done.returncode, said) == (0, [])


def test_training_outlives_the_worker() -> None:
    assert values("worker", "KillMode") == ["process"]
    # With files of its own in /tmp, a training process would lose them with the worker.
    assert values("worker", "PrivateTmp") == []
    assert values("worker", "OOMPolicy") == ["continue"]
    assert "mcn-api.service" in values("worker", "After")[0].split()


class Units:
    """The processes of the units, with the settings of the page for another folder and other servers."""

    def __init__(self, folder: Path, postgres_url: str, redis_url: str) -> None:
        [given] = page.blocks("Without containers", "ini")
        port = free_port()
        replaced = {
            "MCN_DATA_DIR": str(folder / "data"),
            "MCN_DATABASE_URL": postgres_url.replace("+psycopg", ""),
            "MCN_BROKER_URL": redis_url,
        }
        assert [line.partition("=")[0] for line in given.splitlines()] == list(replaced)
        self.settings = Settings(data_dir=folder / "data", port=port)
        self._port = str(port)
        self._environment = clean_environment(folder) | {"MCN_RECONCILE_S": "1", **replaced}
        self._folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def _here(self, given: list[str]) -> list[str]:
        return [{PYTHON: sys.executable, "8000": self._port}.get(word, word) for word in given]

    def run(self, given: list[str]) -> str:
        return subprocess.run(
            self._here(given), cwd=ROOT, env=self._environment, capture_output=True, text=True, check=True
        ).stdout

    def start(self, part: str) -> None:
        with (self._folder / f"{part}.log").open("ab") as log:
            self.processes[part] = subprocess.Popen(
                self._here(words(part)), cwd=ROOT, env=self._environment, stdout=log, stderr=log
            )

    def stop(self, part: str) -> None:
        """As systemd does with KillMode=process."""
        self.processes[part].send_signal(signal.SIGTERM)
        self.processes[part].wait(LIMIT_S)

    def end(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
        for left in training_processes(self._folder):
            with suppress(psutil.NoSuchProcess):
                left.kill()


def _is_reachable(api: Api) -> bool:
    try:
        api.get("/me")
    except ApiError:
        return False
    return True


@pytest.fixture
def units(tmp_path: Path, postgres_url: str, redis_url: str) -> Iterator[Units]:
    made = Units(tmp_path, postgres_url, redis_url)
    yield made
    made.end()


def test_a_restarted_worker_finds_what_trains(units: Units) -> None:
    assert units.run(words("api", "ExecStartPre")) == "The database is up to date.\n"
    for part in PARTS:
        units.start(part)
    token = units.settings.data_dir / "admin-token"
    wait_until(token.exists, "the token of the API", LIMIT_S)
    api = Api(units.settings)
    try:
        # The token is created before the port is opened.
        wait_until(lambda: _is_reachable(api), "the start of the API", LIMIT_S)
        job_id = api.post("/jobs", fusion(epochs=5000))["id"]

        def step() -> int:
            return int(api.get(f"/jobs/{job_id}/metrics")["latest"].get("train/loss_total", {"step": 0})["step"])

        wait_until(step, "the first steps", LIMIT_S)
        units.stop("worker")
        assert training_processes(units.settings.data_dir)
        units.start("worker")
        before = step()
        wait_until(lambda: step() > before, "news of the job", LIMIT_S)
        assert len(api.get(f"/jobs/{job_id}/attempts")["items"]) == 1
    finally:
        api.close()
