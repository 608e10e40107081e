"""Commands about what users have used, and what they may use."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.table import Column

from app.cli.arguments import AsJson
from app.cli.tables import plain_table
from app.cli.terminal import connected, fail, out, print_json
from app.http.csv_cells import safe_cell
from app.jobs.wording import format_bytes

GB = 10**9


def _check_number(value: float | None) -> float | None:
    """A range lets NaN pass."""
    if value is not None and math.isnan(value):
        fail("nan is not a limit: give a number, or leave the option out for no limit", 2)
    return value


def _check_user(user: str) -> str:
    if not (user.isprintable() and 0 < len(user) <= 100):
        fail(f"USER {user[:40]!r} cannot be the name of a user: it must be one line of 1 to 100 characters", 2)
    return user


User = Annotated[
    str,
    typer.Argument(
        metavar="USER", help="A user, or '*' for everyone without a quota of their own.", callback=_check_user
    ),
]


def usage(
    month: Annotated[
        str | None, typer.Option(metavar="YYYY-MM", help="A month, in UTC.", show_default="the current one")
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what each user has used in a month: device-hours, jobs, and bytes stored now."""
    if as_csv and as_json:
        fail("--csv and --json exclude each other: give one of them", 2)
    with connected() as api:
        content = api.get("/usage", month=month)
    if as_json:
        print_json(content)
    elif as_csv:
        _print_csv(content)
    else:
        _print_usage(content)


def _print_usage(content: Mapping[str, Any]) -> None:
    names = ("GPU-hours", "CPU-hours", "jobs", "succeeded", "failed", "running now", "stored now")
    table = plain_table("user", *(Column(name, justify="right", no_wrap=True) for name in names))
    for row in content["owners"]:
        hours = [f"{row[name]:,.2f}" for name in ("gpu_hours", "cpu_hours")]
        numbers = [f"{row[name]:,}" for name in ("jobs", "succeeded", "failed", "running")]
        table.add_row(row["owner"], *hours, *numbers, format_bytes(row["stored_bytes"]))
    if content["owners"]:
        out.print(table)
    out.print(f"{content['device_hours']:,.2f} device-hours in {content['month']} (UTC).")


def _print_csv(content: Mapping[str, Any]) -> None:
    fields = ("device_hours", "gpu_hours", "cpu_hours", "jobs", "succeeded", "failed", "running", "stored_bytes")
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("month", "user", *fields))
    for row in content["owners"]:
        writer.writerow((content["month"], safe_cell(row["owner"]), *(row[field] for field in fields)))


def list_quotas(as_json: AsJson = False) -> None:
    """List the quotas of users; '*' is everyone without one of their own."""
    with connected() as api:
        page = api.get("/quotas")
    if as_json:
        print_json(page)
    elif page["items"]:
        _print_quotas(page["items"])
    else:
        out.print("There are no quotas: nobody is limited.")


def set_quota(
    user: User,
    max_running: Annotated[int | None, typer.Option(help="Jobs that run at once.", min=0)] = None,
    device_hours: Annotated[
        float | None, typer.Option(help="Device-hours in a calendar month.", min=0, max=1e9, callback=_check_number)
    ] = None,
    max_gb: Annotated[
        float | None, typer.Option(help="GB (10^9 bytes) of stored jobs.", min=0, max=1e9, callback=_check_number)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Set the quota of a user, in place of an earlier one. What is not given is not limited."""
    max_bytes = None if max_gb is None else round(max_gb * GB)
    limits = {"max_running": max_running, "device_hours_per_month": device_hours, "max_bytes": max_bytes}
    with connected() as api:
        quota = api.put(_path(user), json.dumps(limits).encode())
    print_json(quota) if as_json else _print_quotas([quota])


def delete_quota(user: User) -> None:
    """Delete the quota of a user: that of '*' holds for them again, if there is one."""
    with connected() as api:
        api.delete(_path(user))
    out.print(f"{user} has no quota of their own any more.")


def _path(user: str) -> str:
    return f"/quotas/{quote(user, safe='*')}"


def _print_quotas(quotas: list[dict[str, Any]]) -> None:
    columns = (
        Column(name, justify="right", no_wrap=True) for name in ("running jobs", "device-hours a month", "stored")
    )
    table = plain_table("user", *columns)
    for row in quotas:
        running, hours, size = (row[name] for name in ("max_running", "device_hours_per_month", "max_bytes"))
        cells = (
            "no limit" if running is None else f"{running:,}",
            "no limit" if hours is None else f"{hours:,g}",
            "no limit" if size is None else format_bytes(size),
        )
        table.add_row(row["owner"], *cells)
    out.print(table)
