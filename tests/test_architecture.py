"""Who may import whom, held in a fresh interpreter as well as by the import contracts of `make lint`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "torchvision", "timm", "wandb", "sklearn", "pandas", "matplotlib")


def imported_by(module: str) -> set[str]:
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["core.spec", "core.reporting.event_log", "core.run.rundir"])
def test_what_the_service_shares_with_training_imports_nothing_heavy(module: str) -> None:
    assert imported_by(module).isdisjoint({*HEAVY, "numpy"})


def test_training_imports_only_what_it_uses() -> None:
    assert imported_by("core.train.fit").isdisjoint({"timm", "torchvision", "wandb", "sklearn", "fastapi", "celery"})


def test_a_spec_error_does_not_wait_for_torch() -> None:
    assert imported_by("core.__main__").isdisjoint(HEAVY)


def test_files_stay_small() -> None:
    sources = [path for part in ("core", "app", "worker") for path in (ROOT / part).rglob("*.py")]
    assert {path.name: length for path in sources if (length := len(path.read_text().splitlines())) > 300} == {}
