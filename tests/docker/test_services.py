"""What docker-compose.yml would start in containers is started here without them."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.cli.client import TERMINAL_STATES, Api
from app.settings import Settings
from tests.docker.files import PARTS, PRODUCTION, ROOT, SERVICES, clean_environment, compose, copy_image
from tests.e2e.running import fusion
from tests.parts import free_port, wait_until
from tests.training_processes import training_processes

LIMIT_S = 240.0


class Composed:
    """The services without containers: what stands for a container's network and volumes is replaced in their words."""

    def __init__(self, image: Path, postgres_url: str, redis_url: str) -> None:
        folder = image.parent
        places = {"MCN_DATA": str(folder / "state"), "MCN_DATASETS": str(folder / "images")}
        for place in places.values():
            Path(place).mkdir()
        self._services = compose(MCN_DB_PASSWORD="secret", **places)["services"]
        self._image, self._folder = image, folder
        port = free_port()
        self._replaced = {
            "postgres:5432/mcn": postgres_url.rpartition("@")[2],
            # This Redis has no password.
            ":secret@redis:6379/0": redis_url.removeprefix("redis://"),
            "api:8000": f"127.0.0.1:{port}",
            "0.0.0.0": "127.0.0.1",
            "8000": str(port),
        }
        for mount in self._services["api"]["volumes"]:
            source, target, *_ = mount.split(":")
            self._replaced[target] = source
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def here(self, text: str) -> str:
        """What a text of the file is on this machine."""
        names = "|".join(re.escape(name) for name in self._replaced)
        return re.sub(rf"(?<!\w)({names})(?!\w)", lambda found: self._replaced[found[0]], text)

    def _environment(self, name: str) -> dict[str, str]:
        given = self._services[name]["environment"].items()
        return clean_environment(self._folder) | {key: self.here(value) for key, value in given if value is not None}

    def _words(self, name: str) -> list[str]:
        service = self._services[name]
        words = [*service.get("entrypoint", []), *shlex.split(service["command"])]
        return [sys.executable if word == "python" else self.here(word) for word in words]

    def log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def start(self, name: str) -> None:
        with self.log(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                self._words(name), cwd=self._image, env=self._environment(name), stdout=log, stderr=log
            )

    def is_healthy(self, name: str = "api") -> bool:
        """What the health check of a service says."""
        kind, *words = self._services[name]["healthcheck"]["test"]
        assert kind == "CMD"
        command = [sys.executable if word == "python" else self.here(word) for word in words]
        done = subprocess.run(command, cwd=self._image, env=self._environment(name), capture_output=True)
        return done.returncode == 0

    def wait_healthy(self, name: str) -> None:
        def ready() -> bool:
            assert self.processes[name].poll() is None, self.log(name).read_text()
            return self.is_healthy(name)

        wait_until(ready, f"the start of the {name}", LIMIT_S)

    def exec(self, name: str, *words: str) -> str:
        """What `docker compose exec NAME mcn ..` prints."""
        command = [sys.executable, "-m", "app.cli.main", *words]
        done = subprocess.run(
            command, cwd=self._image, env=self._environment(name), capture_output=True, text=True, timeout=LIMIT_S
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def stop(self, name: str) -> int:
        """The exit code after the signal by which a container is stopped."""
        process = self.processes[name]
        process.send_signal(signal.SIGTERM)
        return process.wait(LIMIT_S)

    def training(self) -> list[psutil.Process]:
        """The training processes of these services."""
        return training_processes(self._folder)

    def end(self) -> None:
        started = [psutil.Process(process.pid) for process in self.processes.values() if process.poll() is None]
        below = [child for process in started for child in process.children(recursive=True)]
        for process in [*started, *below, *self.training()]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        for ended in self.processes.values():
            ended.wait()


@pytest.fixture
def composed(tmp_path: Path, postgres_url: str, redis_url: str) -> Iterator[Composed]:
    image = tmp_path / "image"
    copy_image(image)
    services = Composed(image, postgres_url, redis_url)
    yield services
    services.end()


def documented_commands(name: str) -> list[list[str]]:
    """The commands that docs/production.md runs in the container of a service."""
    return [shlex.split(line, comments=True) for line in re.findall(rf"compose exec {name} (.*)", PRODUCTION)]


def test_what_it_starts_trains_stops_and_goes_on(composed: Composed) -> None:
    assert not composed.is_healthy()
    composed.start("api")
    composed.wait_healthy("api")
    assert not composed.is_healthy("worker")
    composed.start("worker")
    composed.wait_healthy("worker")
    [[_, token_file]] = [words for words in documented_commands("api") if words[0] == "cat"]
    token = Path(composed.here(token_file)).read_text().strip()
    api = Api(Settings(url=composed.here("http://api:8000"), token=token))
    try:
        for name in PARTS:
            for program, *words in documented_commands(name):
                if program == "mcn":
                    quick = ["--set", "training.epochs=1"] if words[0] == "submit" else []
                    composed.exec(name, *words, *quick)
        _trains_stops_and_goes_on(composed, api)
    finally:
        api.close()
    assert composed.stop("worker") == 0
    # After its clean-up, Uvicorn ends by the signal that it was sent.
    assert composed.stop("api") in (0, -signal.SIGTERM)
    assert not composed.training()
    for name in PARTS:
        assert "Traceback" not in composed.log(name).read_text()


def _trains_stops_and_goes_on(composed: Composed, api: Api) -> None:
    def state(job_id: str) -> str:
        return str(api.get(f"/jobs/{job_id}")["state"])

    def attempts() -> list[Any]:
        return list(api.get(f"/jobs/{long}/attempts")["items"])

    def trains() -> bool:
        return "train/loss_total" in api.get(f"/jobs/{long}/metrics")["keys"]

    [short] = [job["id"] for job in api.get("/jobs")["items"]]
    wait_until(lambda: state(short) in TERMINAL_STATES, "the end of a job", LIMIT_S)
    assert state(short) == "succeeded"
    assert api.get(f"/jobs/{short}/components")["items"]
    # It writes no checkpoint but the one that it is stopped for.
    long = api.post("/jobs", fusion(epochs=5000) | {"checkpoint": {"every_epochs": 5000}})["id"]
    wait_until(trains, "the first steps", LIMIT_S)
    assert composed.stop("worker") == 0
    assert not composed.training()
    composed.start("worker")
    wait_until(lambda: [one for one in attempts()[1:] if one["resumed_from_step"] is not None], "the next", LIMIT_S)
    first, second = attempts()
    assert (first["outcome"], second["outcome"]) == ("stopped", None)
    assert second["resumed_from_step"] > 0


# Both block SIGTERM before anybody can send it: one waits for it, the other does not care.
LEFT = "import signal, sys; signal.sigwait([signal.SIGTERM]); open(sys.argv[1], 'w')"
LEAVES_IT = """
import signal, subprocess, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
subprocess.Popen([sys.executable, "-c", *sys.argv[1:]], stdout=subprocess.DEVNULL, start_new_session=True)
print("there", flush=True)
signal.sigwait([signal.SIGUSR1])
"""


def test_a_command_that_does_not_stop_is_killed_and_what_it_leaves_is_told_to_stop(tmp_path: Path) -> None:
    assert SERVICES["worker"]["entrypoint"] == ["python", "-m", "app.supervisor.container"]
    first = (
        "import sys; from app.supervisor import container; container.STOP_LIMIT_S = 0.1; "
        "sys.exit(container.contained(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", LEAVES_IT, LEFT, str(tmp_path / "told")]
    process = subprocess.Popen([sys.executable, "-c", first, *command], cwd=ROOT, stdout=subprocess.PIPE)
    with process:
        try:
            assert process.stdout
            assert process.stdout.readline() == b"there\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(LIMIT_S) == 128 + signal.SIGKILL
        finally:
            process.kill()
    assert (tmp_path / "told").exists()
