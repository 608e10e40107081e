"""`mcn doctor`: what is installed, reachable and writable, and what to do about the rest."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from sqlalchemy.exc import SQLAlchemyError

from app.cli import doctor_slurm
from app.db import is_current, make_engine
from app.settings import Settings
from app.supervisor.up import is_ready


@dataclass(frozen=True)
class Finding:
    """One thing looked at: whether it is well, what was seen, what to do if not."""

    what: str
    well: bool
    seen: str
    needed: bool = True


def examine(settings: Settings) -> Iterator[Finding]:
    """Looks at everything, one after another."""
    yield Finding("Python", sys.version_info >= (3, 11), sys.version.split()[0])
    try:
        yield Finding("PyTorch", True, version("torch"))
    except PackageNotFoundError:
        yield Finding("PyTorch", False, "not installed: run `make setup`")
    gpus = _gpus()
    yield Finding("GPUs", bool(gpus), gpus or "none seen by nvidia-smi: jobs train on the CPU", needed=False)
    yield _folder(settings)
    yield _database(settings)
    yield _broker(settings)
    ready = is_ready(settings)
    yield Finding(
        "service", ready, f"{settings.api_url} answers" if ready else f"nothing answers at {settings.api_url}: `mcn up`"
    )
    missing = [str(root) for root in settings.roots if not root.is_dir()]
    seen = f"not there: {', '.join(missing)}" if missing else ", ".join(map(str, settings.roots))
    yield Finding("data roots", not missing, seen)
    for what, well, seen in doctor_slurm.examine(settings.data_dir):
        yield Finding(what, well, seen, needed=False)


def _gpus() -> str:
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return "; ".join(line.partition(" (UUID")[0] for line in done.stdout.splitlines())


def _folder(settings: Settings) -> Finding:
    folder = settings.data_dir
    try:
        settings.make_folders()
        writable = os.access(folder, os.W_OK)
        free_gb = shutil.disk_usage(folder).free / 1e9
    except OSError as error:
        return Finding("data folder", False, f"{folder} cannot be made ({error.strerror}): set MCN_DATA_DIR")
    if not writable:
        return Finding("data folder", False, f"{folder} cannot be written to: set MCN_DATA_DIR")
    return Finding(
        "data folder", free_gb > 1, f"{folder}, {free_gb:,.0f} GB free" + ("" if free_gb > 1 else ": make room")
    )


def _database(settings: Settings) -> Finding:
    shown = settings.sqlalchemy_url.rpartition("@")[2]
    try:
        current = is_current(make_engine(settings.sqlalchemy_url))
    except (SQLAlchemyError, OSError) as error:
        return Finding("database", False, f"{shown}: {str(error).splitlines()[0][:120]}")
    return Finding(
        "database", current, shown if current else f"{shown} is not up to date: `mcn db upgrade`, or `mcn up`"
    )


def _broker(settings: Settings) -> Finding:
    if settings.broker_url is None:
        return Finding("broker", True, "embedded, in the data folder")
    place = settings.broker_url.rpartition("@")[2].removeprefix("redis://").partition("/")[0]
    host, _, port = place.partition(":")
    try:
        socket.create_connection((host, int(port or 6379)), timeout=3).close()
    except (OSError, ValueError) as error:
        return Finding("broker", False, f"{place} cannot be reached ({error}): jobs still start, a few seconds later")
    return Finding("broker", True, place)
