"""The files for production, held to the code; what they would start in containers is started here without them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import pytest
import yaml

from app.cli.client import TERMINAL_STATES, Api
from app.settings import Settings
from app.supervisor.up import commands
from tests.e2e.running import Running, fusion
from tests.parts import free_port, need, wait_until
from tests.training_processes import training_processes

ROOT = Path(__file__).parents[1]
COMPOSE = (ROOT / "docker-compose.yml").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PRODUCTION = (ROOT / "docs/production.md").read_text()
PARTS = ["api", "worker"]
LIMIT_S = 240.0


class NotSet(Exception):  # noqa: N818
    """What Compose says of a variable that has to be set."""


def compose(text: str = COMPOSE, /, **environment: str) -> dict[str, Any]:
    """The file with its variables filled in, as Compose does it."""

    def value(found: re.Match[str]) -> str:
        name, operator, word = found.groups()
        if operator == ":?" and not environment.get(name):
            raise NotSet(f"{name}: {word}")
        return environment.get(name) or word

    filled = re.sub(r"\$\{(\w+)(:[-?])([^}]+)\}", value, text)
    assert "$" not in filled
    return dict(yaml.safe_load(filled))


FILE = compose(MCN_DB_PASSWORD="secret")
SERVICES: dict[str, Any] = FILE["services"]


@pytest.mark.parametrize("part", PARTS)
def test_api_and_worker_run_the_commands_of_mcn_up(part: str, up: Running) -> None:
    words = shlex.split(SERVICES[part]["command"])
    assert words == ["python", *commands(Settings(host="0.0.0.0", port=8000))[part][1:]]
    wait_until(lambda: up.pid(part), f"the start of the {part}")
    runs = psutil.Process(up.pid(part)).cmdline()
    assert runs[1:] == commands(up.settings)[part][1:]


@pytest.mark.parametrize("part", PARTS)
def test_its_variables_are_settings(part: str) -> None:
    given = {name for name in SERVICES[part]["environment"] if name.startswith("MCN_")}
    assert given <= {f"MCN_{name.upper()}" for name in Settings.model_fields}


def test_the_documentation_names_all_that_can_be_set() -> None:
    passed_on = {name for name, value in SERVICES["worker"]["environment"].items() if value is None}
    used = passed_on | set(re.findall(r"\$\{(\w+)", COMPOSE))
    assert set(re.findall(r"^\| `(\w+)`", PRODUCTION, re.MULTILINE)) == used


def test_without_a_password_it_says_so() -> None:
    with pytest.raises(NotSet, match="MCN_DB_PASSWORD: set it"):
        compose()
    assert SERVICES["postgres"]["environment"]["POSTGRES_PASSWORD"] == "secret"
    assert all("//mcn:secret@" in SERVICES[part]["environment"]["MCN_DATABASE_URL"] for part in PARTS)


def test_only_the_api_can_be_reached_and_only_from_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"api": ["127.0.0.1:8000:8000"]}
    chosen = compose(MCN_DB_PASSWORD="secret", MCN_HOST="0.0.0.0", MCN_PORT="80")
    assert chosen["services"]["api"]["ports"] == ["0.0.0.0:80:8000"]


def test_what_has_to_stay_lies_in_volumes() -> None:
    mounted = {name: [mount.split(":") for mount in service["volumes"]] for name, service in SERVICES.items()}
    assert {mount[0] for mounts in mounted.values() for mount in mounts} == set(FILE["volumes"])
    assert mounted["api"] == mounted["worker"] == [["data", "/data"], ["datasets", "/datasets", "ro"]]
    # Where the images of these two keep what they keep.
    assert mounted["postgres"] == [["postgres", "/var/lib/postgresql/data"]]
    assert mounted["redis"] == [["redis", "/data"]]
    assert " ".join(SERVICES["redis"]["command"]).endswith("--appendonly yes")


def test_every_part_comes_back_and_waits_for_what_it_needs() -> None:
    assert {service["restart"] for service in SERVICES.values()} == {"unless-stopped"}
    needs = {name: set(service.get("depends_on", ())) for name, service in SERVICES.items()}
    assert needs == {"api": {"postgres", "redis"}, "worker": {"api"}, "postgres": set(), "redis": set()}
    for service in SERVICES.values():
        for needed, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            assert "healthcheck" in SERVICES[needed]
    assert all(re.fullmatch(r"\w+:\d+", SERVICES[part]["image"]) for part in ("postgres", "redis"))
    assert all(SERVICES[part]["init"] for part in PARTS)


def test_a_new_container_of_the_worker_has_the_name_of_the_one_before() -> None:
    assert SERVICES["worker"]["hostname"] == "worker"
    # Compose refuses a second container of a service whose name is fixed.
    assert SERVICES["worker"]["container_name"]
    other = compose(MCN_DB_PASSWORD="secret", MCN_WORKER="gpu2", MCN_SERVER="first")["services"]["worker"]
    assert other["hostname"] == "gpu2"
    assert "@first:5432/" in other["environment"]["MCN_DATABASE_URL"]
    assert "//first:6379/" in other["environment"]["MCN_BROKER_URL"]


def test_the_lines_for_gpus_are_for_the_worker() -> None:
    text = re.sub(r"^(    # With GPUs .*\n)((?:    # .*\n)+)", _uncommented, COMPOSE, flags=re.MULTILINE)
    services = compose(text, MCN_DB_PASSWORD="secret")["services"]
    device = services["worker"].pop("deploy")["resources"]["reservations"]["devices"]
    assert device == [{"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}]
    assert services == SERVICES


def _uncommented(found: re.Match[str]) -> str:
    return found[1] + found[2].replace("    # ", "    ")


def copies() -> list[tuple[str, str]]:
    return re.findall(r"^COPY (\S+) (\S+)$", DOCKERFILE, re.MULTILINE)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """The image's working directory: what the Dockerfile copies, and nothing else."""
    folder = tmp_path / "image"
    folder.mkdir()
    assert len(copies()) == DOCKERFILE.count("COPY ")
    for source, target in copies():
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, folder / target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, folder / target)
    return folder


IMPORTS = """
import importlib, pkgutil, sys
for package in sys.argv[2:]:
    for module in pkgutil.walk_packages([package], package + "."):
        importlib.import_module(module.name)
files = {getattr(module, "__file__", None) or "" for module in list(sys.modules.values())}
print(sorted(file for file in files if file.startswith(sys.argv[1]) and "site-packages" not in file))
"""


def test_the_image_has_all_that_the_code_needs(image: Path) -> None:
    project = tomllib.loads((image / "pyproject.toml").read_text())
    packages = [name.rstrip("*") for name in project["tool"]["setuptools"]["packages"]["find"]["include"]]
    assert [name for name in packages if not (image / name).is_dir()] == []
    imported = [name for name in packages if name != "migrations"]
    assert run(image, "-c", IMPORTS, f"{ROOT}/", *imported) == "[]\n"
    run(image, "-c", "from setuptools import build_meta; build_meta.prepare_metadata_for_build_editable('.')")


def run(folder: Path, *words: str) -> str:
    environment = {**clean_environment(folder), "MCN_DATA_DIR": str(folder / "data")}
    done = subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def clean_environment(home: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home)}


def test_the_build_sees_only_what_is_copied() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == {source for source, _ in copies()}


def test_the_image_is_built_from_the_lock_and_run_by_a_user() -> None:
    text = DOCKERFILE.replace("\\\n", "")
    assert re.search(r"uv pip install .*--require-hashes .*-r requirements\.lock", text)
    assert "://" not in text
    user = re.findall(r"^USER (\S+)", text, re.MULTILINE)[-1]
    assert re.search(rf"useradd --uid [1-9]\d* .*{user}\b", text)
    # A new volume takes over whose the folder is.
    data_dir = SERVICES["api"]["environment"]["MCN_DATA_DIR"]
    assert re.search(rf"install -d -o {user} -g {user} -m 700 {data_dir}\b", text)


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
            "redis:6379/0": redis_url.removeprefix("redis://"),
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

    def is_healthy(self) -> bool:
        """What the API's health check says."""
        kind, *words = self._services["api"]["healthcheck"]["test"]
        assert kind == "CMD"
        words = [sys.executable if word == "python" else self.here(word) for word in words]
        return subprocess.run(words, env=self._environment("api"), stderr=subprocess.DEVNULL).returncode == 0

    def wait_healthy(self) -> None:
        def ready() -> bool:
            assert self.processes["api"].poll() is None, self.log("api").read_text()
            return self.is_healthy()

        wait_until(ready, "the API's start", LIMIT_S)

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
def composed(image: Path, postgres_url: str, redis_url: str) -> Iterator[Composed]:
    services = Composed(image, postgres_url, redis_url)
    yield services
    services.end()


def documented_commands(name: str) -> list[list[str]]:
    """The commands that docs/production.md runs in the container of a service."""
    return [shlex.split(line, comments=True) for line in re.findall(rf"compose exec {name} (.*)", PRODUCTION)]


def test_what_it_starts_trains_stops_and_goes_on(composed: Composed) -> None:
    assert not composed.is_healthy()
    composed.start("api")
    composed.wait_healthy()
    composed.start("worker")
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


class Refusal(BaseHTTPRequestHandler):
    """An API without its database."""

    def do_GET(self) -> None:
        self.send_response(503 if self.path == "/readyz" else 200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


def test_an_api_that_is_not_ready_is_not_healthy() -> None:
    _, *words = SERVICES["api"]["healthcheck"]["test"]
    with HTTPServer(("127.0.0.1", 0), Refusal) as server:
        Thread(target=server.handle_request).start()
        words = [word.replace("8000", str(server.server_port)) for word in words]
        assert subprocess.run([sys.executable, *words[1:]]).returncode == 1


def test_the_other_health_checks_ask_the_real_servers(postgres_server: str, redis_url: str) -> None:
    ports = {"postgres": postgres_server, "redis": redis_url}
    for name, url in ports.items():
        _, program, *words = SERVICES[name]["healthcheck"]["test"]
        command = [need({"postgres": "PostgreSQL", "redis": "Redis"}[name], program), "-p"]
        port = url.rpartition(":")[2].partition("/")[0]
        assert subprocess.run([*command, port, *words], stdout=subprocess.DEVNULL).returncode == 0
        assert subprocess.run([*command, str(free_port()), *words], capture_output=True).returncode != 0


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
