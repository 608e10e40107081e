"""`mcn doctor`: checks what is installed, reachable and writable, and says how to fix the rest."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import httpx
from sqlalchemy.exc import SQLAlchemyError

from app.cli import doctor_slurm
from app.db import is_current, make_engine
from app.jobs.disk_space import disk_space, in_gb, is_writable, more_than_the_disk
from app.operations.broker import broker_address, broker_trouble
from app.settings import Settings
from app.supervisor.up import PROBE_LIMIT_S


@dataclass(frozen=True)
class Check:
    """The result of one check. `detail` says what was seen or, if the check failed, how to fix it."""

    name: str
    ok: bool
    detail: str
    required: bool = True

    def to_json(self) -> dict[str, Any]:
        """The check under the field names that `mcn doctor --json` has always had."""
        return {"what": self.name, "well": self.ok, "seen": self.detail, "needed": self.required}


def run_checks(settings: Settings) -> Iterator[Check]:
    """Runs every check, one after another."""
    yield Check("Python", sys.version_info >= (3, 11), sys.version.split()[0])
    try:
        yield Check("PyTorch", True, version("torch"))
    except PackageNotFoundError:
        yield Check("PyTorch", False, "not installed: run `make setup`")
    gpus = _list_gpus()
    yield Check("GPUs", bool(gpus), "; ".join(gpus) or "nvidia-smi lists none: jobs train on the CPU", required=False)
    yield from _check_devices(settings, len(gpus))
    yield _check_data_dir(settings)
    yield _check_database(settings)
    yield _check_broker(settings)
    yield _check_service(settings)
    missing = [str(root) for root in settings.roots if not root.is_dir()]
    roots = f"not found: {', '.join(missing)}" if missing else ", ".join(map(str, settings.roots))
    yield Check("data roots", not missing, roots)
    for name, ok, detail in doctor_slurm.run_checks(settings.data_dir):
        yield Check(name, ok, detail, required=False)


def _check_devices(settings: Settings, num_gpus: int) -> Iterator[Check]:
    if settings.devices is None:
        return
    named = [device.strip() for device in settings.devices.split(",")]
    missing = [device for device in named if not device.startswith("cpu") and int(device) >= num_gpus]
    existing = f"GPUs 0 to {num_gpus - 1} and cpu" if num_gpus else "cpu"
    advice = f": there is no GPU {', '.join(missing)}; choose from {existing}" if missing else ""
    yield Check("MCN_DEVICES", not missing, settings.devices + advice)


def _list_gpus() -> list[str]:
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.partition(" (UUID")[0] for line in listing.stdout.splitlines()]


def _check_data_dir(settings: Settings) -> Check:
    name, folder = "data folder", settings.data_dir
    try:
        settings.make_folders()
        space = disk_space(settings)
    except OSError as error:
        return Check(name, False, f"{folder} is not usable ({error.strerror}): set MCN_DATA_DIR")
    for needed in (folder, settings.runs_dir):
        if not is_writable(needed):
            advice = "mount its disk for writing, correct its owner and permissions, or set MCN_DATA_DIR"
            return Check(name, False, f"{needed} is not writable: {advice}")
    if not space.is_low:
        return Check(name, True, f"{folder}, {in_gb(space.free)} free; no job starts below {in_gb(space.min_free)}")
    if space.resume_at > space.total:
        return Check(name, False, f"{folder}: {more_than_the_disk(space.min_free, space.total)}")
    advice = "delete old jobs, or set MCN_DATA_DIR to a larger disk or MCN_MIN_FREE_GB to less"
    detail = f"{folder}, {in_gb(space.free)} free: no job starts below {in_gb(space.min_free)}, and those that wait "
    return Check(name, False, f"{detail}start by themselves at {in_gb(space.resume_at)}; {advice}")


def _check_database(settings: Settings) -> Check:
    without_password = settings.sqlalchemy_url.rpartition("@")[2]
    try:
        current = is_current(make_engine(settings.sqlalchemy_url))
    except (SQLAlchemyError, OSError) as error:
        return Check("database", False, f"{without_password}: {str(error).splitlines()[0][:120]}")
    advice = "" if current else " is not up to date: run `mcn db upgrade` or `mcn up`"
    return Check("database", current, f"{without_password}{advice}")


def _check_broker(settings: Settings) -> Check:
    address, trouble = broker_address(settings), broker_trouble(settings)
    if trouble is None:
        return Check("broker", True, address)
    return Check("broker", False, f"{address} is not reachable ({trouble}): jobs still start, some seconds later")


def _check_service(settings: Settings) -> Check:
    name, url = "service", settings.api_url
    try:
        answer = httpx.get(f"{url}/readyz", timeout=PROBE_LIMIT_S)
        body = answer.json()
    except (httpx.HTTPError, ValueError):
        return Check(name, False, f"no response at {url}: start it with `mcn up`")
    if answer.status_code != 200:
        return Check(name, False, f"{url} is not ready: {body.get('detail')}")
    missing = "; ".join(f"{part['name']}: {part['detail']}" for part in body.get("parts", ()) if not part["ok"])
    return Check(name, True, f"responds at {url}" + (f", but {missing}" if missing else ""))
