"""docker-compose.yml, held to the code and to docs/production.md."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import psutil
import pytest

from app.settings import Settings
from app.supervisor.up import commands
from tests.docker.files import COMPOSE, FILE, PARTS, PRODUCTION, ROOT, SERVICES, NotSet, compose
from tests.e2e.running import Running
from tests.parts import free_port, need, wait_until


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
    environments = [service.get("environment", {}).items() for service in SERVICES.values()]
    passed_on = {name for environment in environments for name, value in environment if value is None}
    used = passed_on | set(re.findall(r"\$\{(\w+)", COMPOSE))
    assert set(re.findall(r"^\| `(MCN_\w+|WANDB_\w+)`", PRODUCTION, re.MULTILINE)) == used


def test_without_a_password_it_says_so() -> None:
    with pytest.raises(NotSet, match="MCN_DB_PASSWORD: set it"):
        compose()
    assert SERVICES["postgres"]["environment"]["POSTGRES_PASSWORD"] == "secret"
    assert all("//mcn:secret@" in SERVICES[part]["environment"]["MCN_DATABASE_URL"] for part in PARTS)
    assert all("//:secret@" in SERVICES[part]["environment"]["MCN_BROKER_URL"] for part in PARTS)
    assert "--requirepass secret" in " ".join(SERVICES["redis"]["command"])
    assert SERVICES["redis"]["environment"]["REDISCLI_AUTH"] == "secret"


def test_only_the_api_can_be_reached_and_only_from_this_machine() -> None:
    usual = {name: service for name, service in SERVICES.items() if "profiles" not in service}
    published = {name: service["ports"] for name, service in usual.items() if "ports" in service}
    assert published == {"api": ["127.0.0.1:8000:8000"]}
    chosen = compose(MCN_DB_PASSWORD="secret", MCN_HOST="0.0.0.0", MCN_PORT="80")
    assert chosen["services"]["api"]["ports"] == ["0.0.0.0:80:8000"]


def test_what_has_to_stay_lies_in_volumes() -> None:
    mounted = {name: [mount.split(":") for mount in service["volumes"]] for name, service in SERVICES.items()}
    sources = {mount[0] for mounts in mounted.values() for mount in mounts}
    assert {source for source in sources if not source.startswith("./")} == set(FILE["volumes"])
    assert mounted["api"] == mounted["worker"] == [["data", "/data"], ["datasets", "/datasets", "ro"]]
    # Where the images of these two keep what they keep.
    assert mounted["postgres"] == [["postgres", "/var/lib/postgresql/data"]]
    assert mounted["redis"] == [["redis", "/data"]]
    assert " ".join(SERVICES["redis"]["command"]).endswith("--appendonly yes")


def test_every_part_comes_back_and_waits_for_what_it_needs() -> None:
    assert {service["restart"] for service in SERVICES.values()} == {"unless-stopped"}
    needs = {name: set(service.get("depends_on", ())) for name, service in SERVICES.items()}
    assert needs == {
        "api": {"postgres", "redis"},
        "worker": {"api"},
        "tls": {"api"},
        "postgres": set(),
        "redis": set(),
    }
    for service in SERVICES.values():
        for needed, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            assert "healthcheck" in SERVICES[needed]
    assert all(re.fullmatch(r"\w+:\d+", SERVICES[part]["image"]) for part in ("postgres", "redis", "tls"))
    assert all(SERVICES[part]["init"] for part in PARTS)


def test_https_is_for_those_who_choose_it() -> None:
    tls = SERVICES["tls"]
    assert (tls["profiles"], tls["ports"]) == (["tls"], ["80:80", "443:443"])
    [mounted] = [mount.split(":") for mount in tls["volumes"] if mount.startswith("./")]
    assert (ROOT / mounted[0]).read_text().count("reverse_proxy api:8000") == 1
    assert mounted[1:] == ["/etc/caddy/Caddyfile", "ro"]
    address = compose(MCN_DB_PASSWORD="secret", MCN_PUBLIC_URL="https://a.example")["services"]["tls"]["environment"]
    assert address == {"MCN_PUBLIC_URL": "https://a.example"}


def test_a_new_container_of_the_worker_has_the_name_of_the_one_before() -> None:
    assert SERVICES["worker"]["hostname"] == "worker"
    # Compose refuses a second container of a service whose name is fixed.
    assert SERVICES["worker"]["container_name"]
    other = compose(MCN_DB_PASSWORD="secret", MCN_WORKER="gpu2", MCN_SERVER="first")["services"]["worker"]
    assert other["hostname"] == "gpu2"
    assert "@first:5432/" in other["environment"]["MCN_DATABASE_URL"]
    assert "@first:6379/" in other["environment"]["MCN_BROKER_URL"]


@pytest.mark.parametrize("part", PARTS)
def test_a_part_may_write_to_its_volume_and_to_temporary_files_only(part: str) -> None:
    service = SERVICES[part]
    assert (service["read_only"], service["tmpfs"]) == (True, ["/tmp"])
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    places = {name: path for name, path in service["environment"].items() if name.endswith(("HOME", "_DIR"))}
    assert {"HOME", "XDG_CACHE_HOME", "MCN_DATA_DIR"} < set(places)
    assert [path for path in places.values() if not re.match(r"/(data|tmp)\b", path)] == []


def test_one_service_builds_the_image_that_both_use() -> None:
    """With two, every build would leave one of the images behind without a name."""
    assert [name for name, service in SERVICES.items() if "build" in service] == ["api"]
    assert SERVICES["api"]["image"] == SERVICES["worker"]["image"]
    assert SERVICES["worker"]["pull_policy"] == "never"
    chosen = compose(MCN_DB_PASSWORD="secret", MCN_TORCH="cpu")["services"]["api"]["build"]["args"]
    assert (SERVICES["api"]["build"]["args"], chosen) == ({"TORCH": "cuda"}, {"TORCH": "cpu"})


def test_the_lines_for_gpus_are_for_the_worker() -> None:
    text = re.sub(r"^(    # With GPUs .*\n)((?:    # .*\n)+)", _uncommented, COMPOSE, flags=re.MULTILINE)
    services = compose(text, MCN_DB_PASSWORD="secret")["services"]
    device = services["worker"].pop("deploy")["resources"]["reservations"]["devices"]
    assert device == [{"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}]
    assert services == SERVICES


def _uncommented(found: re.Match[str]) -> str:
    return found[1] + found[2].replace("    # ", "    ")


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
