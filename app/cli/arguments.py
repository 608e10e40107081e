"""Arguments and options that several commands share."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from app.cli.terminal import fail


def is_sweep(object_id: str) -> bool:
    """Whether an id is the id of a sweep."""
    return object_id.startswith("swp_")


def path_of(object_id: str) -> str:
    """The API path of a job or sweep."""
    return f"/{'sweeps' if is_sweep(object_id) else 'jobs'}/{object_id}"


def check_id(value: str) -> str:
    """A job, sweep or token id, or a component name; exits with 2 if it cannot be one."""
    if not re.fullmatch(r"[A-Za-z0-9_]{1,64}", value):
        fail(f"{value[:40]!r} is not a valid id: ids look like job_01J.. (see `mcn jobs`), names like expert_0", 2)
    return value


def check_job_id(value: str) -> str:
    """A job id; exits with 2 if it cannot be one, or is the id of a sweep."""
    if is_sweep(check_id(value)):
        fail(f"{value} is a sweep, but this command needs a job: `mcn jobs --sweep {value}` lists its jobs", 2)
    return value


def check_sweep_id(value: str) -> str:
    """A sweep id; exits with 2 if it is not one."""
    if not is_sweep(check_id(value)):
        fail(f"{value} is not a sweep, but this command needs one: `mcn sweeps` lists sweeps", 2)
    return value


def key_header(key: str | None) -> dict[str, str]:
    """The header of an idempotency key; exits with 2 if it cannot be one."""
    if key is None:
        return {}
    if not (key.isascii() and key.isprintable() and 0 < len(key) <= 200):
        fail(f"--key {key[:40]!r}: must be 1 to 200 letters, digits, spaces and marks of ASCII", 2)
    return {"Idempotency-Key": key}


def _check_ids(values: list[str]) -> list[str]:
    return [check_id(value) for value in values]


def _check_job_ids(values: list[str]) -> list[str]:
    return [check_job_id(value) for value in values]


AnyId = Annotated[str, typer.Argument(metavar="ID", help="A job or sweep id.", callback=check_id)]
AnyIds = Annotated[list[str], typer.Argument(metavar="ID...", help="Job or sweep ids.", callback=_check_ids)]
JobId = Annotated[str, typer.Argument(metavar="ID", help="A job id.", callback=check_job_id)]
JobIds = Annotated[list[str], typer.Argument(metavar="ID...", help="Job ids.", callback=_check_job_ids)]
SweepId = Annotated[str, typer.Argument(metavar="ID", help="A sweep id.", callback=check_sweep_id)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Limit = Annotated[int, typer.Option(help="The maximum number of rows.", min=1, max=200)]
