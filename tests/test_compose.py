"""The files for production, held to the code: what Compose starts and with what, and what the image contains."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import psutil
import pytest

from app.settings import Settings
from app.supervisor.up import commands
from tests.compose import (
    COMPOSE,
    DOCKERFILE,
    FILE,
    PARTS,
    PRODUCTION,
    ROOT,
    SERVICES,
    NotSet,
    clean_environment,
    compose,
    copies,
    copy_image,
)
from tests.e2e.running import Running
from tests.parts import wait_until


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


IMPORTS = """
import importlib, pkgutil, sys
for package in sys.argv[2:]:
    for module in pkgutil.walk_packages([package], package + "."):
        importlib.import_module(module.name)
files = {getattr(module, "__file__", None) or "" for module in list(sys.modules.values())}
print(sorted(file for file in files if file.startswith(sys.argv[1]) and "site-packages" not in file))
"""


def test_the_image_has_all_that_the_code_needs(tmp_path: Path) -> None:
    image = copy_image(tmp_path)
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
