"""The Dockerfile, and what it runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.docker.files import DOCKERFILE, INSTALL, ROOT, SERVICES, clean_environment, copies, copy_image

IMPORTS = """
import importlib, pkgutil, sys
for package in sys.argv[2:]:
    for module in pkgutil.walk_packages([package], package + "."):
        importlib.import_module(module.name)
files = {getattr(module, "__file__", None) or "" for module in list(sys.modules.values())}
print(sorted(file for file in files if file.startswith(sys.argv[1]) and "site-packages" not in file))
"""


def test_the_image_has_all_that_the_code_needs(tmp_path: Path) -> None:
    image = tmp_path / "image"
    copy_image(image)
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
    assert {line[1:] for line in lines if line.startswith("!")} == {source.partition("/")[0] for source, _ in copies()}


def test_the_image_is_built_from_the_lock_and_run_by_a_user() -> None:
    text = DOCKERFILE.replace("\\\n", "")
    assert re.search(r"^RUN \./install-requirements ", text, re.MULTILINE)
    assert "://" not in text + INSTALL.read_text()
    user = re.findall(r"^USER (\S+)", text, re.MULTILINE)[-1]
    assert re.search(rf"useradd --uid [1-9]\d* .*{user}\b", text)
    # A new volume takes over whose the folder is.
    data_dir = SERVICES["api"]["environment"]["MCN_DATA_DIR"]
    assert re.search(rf"install -d -o {user} -g {user} -m 700 {data_dir}\b", text)


def test_only_a_change_of_the_dependencies_installs_them_anew(tmp_path: Path) -> None:
    """The first stage leaves of pyproject.toml what the service needs, and nothing of what only its developers need."""
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    text = DOCKERFILE.replace("\\\n", "").replace("RUN python ", f"RUN {sys.executable} ")
    [line] = re.findall(r"^RUN (.* > requirements\.toml)$", text, re.MULTILINE)
    subprocess.run(["sh", "-c", line], cwd=tmp_path, check=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    written = tomllib.loads((tmp_path / "requirements.toml").read_text())["project"]
    assert written == {"name": "requirements", "version": "0", "dependencies": project["dependencies"]}


# In place of pip, uv and python, it writes down with which words it was called, and the packages that are left out.
WRITES_DOWN = """#!/bin/sh
echo "${0##*/} $*" >> "$CALLS"
while [ $# -gt 0 ]; do [ "$1" != --excludes ] || cp "$2" "$CALLS.without"; shift; done
"""


class Installed:
    """What `install-requirements` did with these words."""

    def __init__(self, folder: Path, *words: str) -> None:
        calls = folder / "calls"
        for name in ("pip", "uv", "python"):
            program = folder / name
            program.write_text(WRITES_DOWN)
            program.chmod(0o755)
        (folder / "requirements.toml").touch()
        (folder / "requirements.lock").write_text((ROOT / "requirements.lock").read_text())
        environment = {"PATH": f"{folder}:{os.environ['PATH']}", "CALLS": str(calls), "TMPDIR": str(folder)}
        self.done = subprocess.run([INSTALL, *words], cwd=folder, env=environment, capture_output=True, text=True)
        lines = calls.read_text().splitlines() if calls.exists() else []
        self.uv = [line for line in lines if line.startswith("uv ")]
        self.without = (folder / "calls.without").read_text().split() if lines else []


def locked(pattern: str) -> list[str]:
    return re.findall(rf"^({pattern})==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)


FOR_GPUS = locked("(?:triton|cuda|nvidia)[a-z0-9-]*")


def test_all_that_is_installed_has_the_hashes_of_the_lock(tmp_path: Path) -> None:
    installed = Installed(tmp_path, "cuda")
    assert installed.done.returncode == 0
    [call] = installed.uv
    assert call.startswith("uv pip install --system --no-cache --compile-bytecode --require-hashes ")
    assert re.search(r" -r \S+/pyproject\.toml -c requirements\.lock$", call)
    assert installed.without == []


def test_without_a_gpu_the_same_pytorch_is_installed_without_what_only_gpus_need(tmp_path: Path) -> None:
    installed = Installed(tmp_path, "cpu")
    assert len(installed.uv) == 1
    assert installed.without == ["cuda-bindings", "cuda-pathfinder", "triton"]
    assert set(installed.without) < set(FOR_GPUS)


def test_from_an_index_pytorch_comes_without_any_cuda_in_the_version_of_the_lock(tmp_path: Path) -> None:
    address = "https://packages.example.org/cpu"
    installed = Installed(tmp_path, address)
    assert sorted(installed.without) == sorted([*FOR_GPUS, "torch", "torchvision"])
    [_, call] = installed.uv
    assert re.search(rf" --no-deps --index {address} torch==[\d.]+ torchvision==[\d.]+$", call)


def test_another_word_is_refused_before_anything_is_installed(tmp_path: Path) -> None:
    installed = Installed(tmp_path, "gpu")
    assert (installed.done.returncode, installed.uv) == (2, [])
    assert "MCN_TORCH is 'gpu': use cuda, cpu, or the address" in installed.done.stderr
