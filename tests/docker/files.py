"""The files for production as the tests read them."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "docker-compose.yml").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()
INSTALL = ROOT / "app/supervisor/install-requirements"
PRODUCTION = (ROOT / "docs/production.md").read_text()
PARTS = ["api", "worker"]


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


def clean_environment(home: Path) -> dict[str, str]:
    # Tests must not wait because the disk of this machine is nearly full.
    return {"PATH": os.environ["PATH"], "HOME": str(home), "MCN_MIN_FREE_GB": "0"}


def copies() -> list[tuple[str, str]]:
    """What the last stage takes from the folder of the project, and where to."""
    return re.findall(r"^COPY (\w\S+) (\S+)$", DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :], re.MULTILINE)


def copy_image(folder: Path) -> None:
    """Makes the image's working directory: what the Dockerfile copies, and nothing else."""
    folder.mkdir()
    assert len(copies()) == DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :].count("COPY ") - 1
    for source, target in copies():
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, folder / target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, folder / target)
