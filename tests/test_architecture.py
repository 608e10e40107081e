"""The house holds: who may import whom in a fresh interpreter, how many things a folder has, how long files are.

The import contracts in pyproject.toml, which `make lint` checks, hold the layers and forbid cycles.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "torchvision", "timm", "wandb", "sklearn", "pandas", "matplotlib"}
PACKAGES = ("app", "core", "worker")
# Tests, migrations and the code that writes the documentation are read as often as the sources.
ALL_CODE = (*PACKAGES, "docs", "migrations", "tests")
MAX_LINES = 300
MEDIAN_LINES = 100
# Modules and folders at the top of a package, dunder files not counted.
MAX_ENTRIES = {"app": 16, "core": 14}


def imported_by(module: str, data_dir: Path | None = None) -> set[str]:
    """The top-level names of all modules that a fresh interpreter has loaded after importing `module`."""
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    if data_dir:
        environment["MCN_DATA_DIR"] = str(data_dir)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, env=environment
    )
    return set(done.stdout.split())


@pytest.mark.processes
@pytest.mark.parametrize("module", ["app.main", "app.cli.main", "app.supervisor.up", "worker.app"])
def test_service_and_celery_worker_do_not_load_torch(module: str, tmp_path: Path) -> None:
    assert (
        imported_by(module, tmp_path / "data") & {"torch", "torchvision", "timm", "wandb", "safetensors", "scipy"}
        == set()
    )


@pytest.mark.processes
def test_the_worker_does_not_load_what_only_the_service_needs(tmp_path: Path) -> None:
    assert (
        imported_by("worker.app", tmp_path / "data")
        & {"fastapi", "starlette", "uvicorn", "jinja2", "alembic", "prometheus_client"}
        == set()
    )


@pytest.mark.processes
def test_a_health_check_loads_little(tmp_path: Path) -> None:
    unused = {"celery", "redis", "fastapi", "httpx", "typer", "rich", "alembic", "numpy"}
    assert imported_by("app.cli.worker_health", tmp_path / "data") & (HEAVY | unused) == set()


@pytest.mark.processes
def test_the_service_does_not_load_what_only_the_worker_needs(tmp_path: Path) -> None:
    assert imported_by("app.main", tmp_path / "data") & {"submitit", "worker"} == set()


@pytest.mark.processes
@pytest.mark.parametrize("module", ["core.spec", "core.reporting.event_log", "core.run.rundir"])
def test_what_service_and_training_share_loads_nothing_heavy(module: str) -> None:
    assert imported_by(module) & (HEAVY | {"numpy"}) == set()


@pytest.mark.processes
def test_training_loads_only_what_it_uses() -> None:
    unused = {"timm", "torchvision", "wandb", "sklearn", "fastapi", "celery"}
    assert imported_by("core.train.fit") & unused == set()


@pytest.mark.processes
def test_a_mistake_in_a_specification_is_reported_without_loading_torch() -> None:
    assert imported_by("core.__main__") & HEAVY == set()


def lengths(folders: tuple[str, ...] = PACKAGES) -> dict[str, int]:
    """The number of lines of every Python file in these folders."""
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    return {str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in files}


def test_no_file_is_longer_than_the_limit() -> None:
    assert {file: lines for file, lines in lengths(ALL_CODE).items() if lines > MAX_LINES} == {}


def test_files_are_short_on_the_whole() -> None:
    assert statistics.median(lengths().values()) < MEDIAN_LINES


@pytest.mark.parametrize("package", MAX_ENTRIES)
def test_a_package_has_few_entries_at_its_top(package: str) -> None:
    entries = [path.name for path in (ROOT / package).iterdir() if not path.name.startswith(("__", "."))]
    assert len(entries) <= MAX_ENTRIES[package], sorted(entries)


@pytest.mark.parametrize("name", ["utils.py", "helpers.py", "common.py"])
def test_no_file_has_a_name_that_says_nothing(name: str) -> None:
    assert [file for file in lengths() if Path(file).name == name] == []


def test_import_contracts_cover_every_package_and_forbid_cycles() -> None:
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert set(linter["root_packages"]) == set(PACKAGES)
    [acyclic] = [contract for contract in linter["contracts"] if contract["type"] == "acyclic_siblings"]
    assert set(acyclic["ancestors"]) == set(PACKAGES)


def test_layers_name_every_folder() -> None:
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    for contract in linter["contracts"]:
        if contract["type"] == "layers":
            package = contract["containers"][0].replace(".", "/")
            named = {name.strip() for layer in contract["layers"] for name in layer.split("|")}
            paths = [path for path in (ROOT / package).iterdir() if path.suffix == ".py" or path.is_dir()]
            entries = {path.stem for path in paths} - {"__init__", "__pycache__"}
            assert entries <= named, f"{package}: {entries - named}"
