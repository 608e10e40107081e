"""Tables of jobs, attempts, components and tokens."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.table import Column, Table
from rich.text import Text

from app.cli.formatting import format_accuracy, format_progress, format_status
from app.jobs.wording import format_bytes

STATE_STYLES = {
    "succeeded": "green",
    "failed": "red",
    "cancelled": "yellow",
    "running": "cyan",
    "starting": "cyan",
    "paused": "magenta",
}
# A narrower terminal gets tables with fewer columns, so that no id or state is cut.
WIDE_COLUMNS = 140
# `job_`, `swp_`, `cmp_` or `tok_` and 26 characters.
ID_LENGTH = 30
# Spaces between two columns of a plain table.
_GAP = 2

# What the tables of jobs show.
JOB_FIELDS = ("id", "kind", "name", "state", "reason", "message", "progress", "metrics", "waits_for")


def plain_table(*columns: str | Column) -> Table:
    """An empty table without lines, whose cells stay on one line."""
    named = (Column(column, no_wrap=True) if isinstance(column, str) else column for column in columns)
    return Table(*named, box=None, pad_edge=False)


def field_table(fields: Iterable[tuple[str, object]]) -> Table:
    """A table of names and values; empty values are left out."""
    table = Table.grid(padding=(0, 2))
    for name, value in fields:
        if value not in (None, "", []):
            table.add_row(name, Text(", ".join(map(str, value)) if isinstance(value, list) else str(value)))
    return table


def id_column(name: str = "id") -> Column:
    """A column of ids, which are never cut, however narrow the terminal is."""
    return Column(name, no_wrap=True, overflow="fold", min_width=ID_LENGTH)


def fitted_table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]], shortened: Mapping[str, int]) -> Table:
    """A table that is as wide as the terminal at most, as far as the texts of some columns can be shortened.

    The first of `shortened`, which has the least length of each, gives way first.
    """
    kept = [list(row) for row in rows]
    widths = {name: max(map(cell_len, [name, *(str(row[k]) for row in kept)])) for k, name in enumerate(columns)}
    excess = sum(widths.values()) + _GAP * (len(columns) - 1) - _terminal_width()
    for name, least in shortened.items():
        width = max(min(least, widths[name]), widths[name] - max(0, excess))
        excess -= widths[name] - width
        for row in kept:
            text = Text(str(row[columns.index(name)]))
            text.truncate(width, overflow="ellipsis")
            row[columns.index(name)] = text
    table = plain_table(*(id_column() if name == "id" else name for name in columns))
    for row in kept:
        table.add_row(*row)
    return table


def jobs_table(jobs: Iterable[Mapping[str, Any]]) -> Table:
    """Jobs, one a row, for the width of the terminal: long names are shortened first, then the status."""
    if _terminal_width() < WIDE_COLUMNS:
        rows = [
            (job["id"], job["name"], _state(job), format_progress(job["progress"], bar_width=0), _accuracy(job))
            for job in jobs
        ]
        return fitted_table(("id", "name", "state", "done", "accuracy"), rows, {"name": 4})
    columns = ("id", "kind", "name", "state", "progress", "accuracy", "status")
    wide = []
    for job in jobs:
        progress = format_progress(job["progress"])
        wide.append((job["id"], job["kind"], job["name"], _state(job), progress, _accuracy(job), format_status(job)))
    return fitted_table(columns, wide, {"name": 16, "status": 16})


def _accuracy(job: Mapping[str, Any]) -> str:
    return format_accuracy(job["metrics"])


def _terminal_width() -> int:
    return shutil.get_terminal_size((80 if sys.stdout.isatty() else 200, 24)).columns


def _state(job: Mapping[str, Any]) -> Text:
    return Text(job["state"], style=STATE_STYLES.get(job["state"], ""))


def job_details(job: Mapping[str, Any], attempts: Sequence[Mapping[str, Any]] = ()) -> Table:
    """One job field by field, with its attempts if there is more than one or if Slurm ran them."""
    status = format_status(job) if job["state"] == "running" else ""
    fields: list[tuple[str, object]] = [
        *((name, job[name]) for name in ("id", "kind", "name", "tags", "state", "reason", "message")),
        ("measures" if job["kind"] == "evaluate" else "trains", _describe_spec(job["spec"])),
        *((name, job[name]) for name in ("owner", "created_at", "started_at", "finished_at")),
        ("progress", f"{format_progress(job['progress'])}  {status}".rstrip()),
        ("waits for", job["waits_for"]),
    ]
    fields += [
        (f"attempt {attempt['number']}", _describe_attempt(attempt))
        for attempt in attempts
        if len(attempts) > 1 or attempt["slurm_job_id"]
    ]
    fields += [
        (key, f"{value:.4f}")
        for key, value in job["metrics"].items()
        if key.startswith(("test/", "val/accuracy")) and value is not None
    ]
    return field_table(fields)


def _describe_spec(spec: Mapping[str, Any]) -> str:
    experts = spec.get("experts") or [spec["expert"]]
    architectures = [expert.get("arch") for expert in experts]
    counts = {arch: architectures.count(arch) for arch in architectures}
    parts = [" + ".join(_describe_experts(arch, count) for arch, count in counts.items())]
    parts += [spec["fusion"]["type"]] if (spec.get("fusion") or {}).get("type") else []
    parts.append(f"on {spec['dataset']['name']}")
    if spec["kind"] != "evaluate":
        parts += [f"{spec['training']['epochs']} epochs", f"batch size {spec['training']['batch_size']}"]
    return ", ".join(parts)


def _describe_experts(arch: str | None, count: int) -> str:
    # Without an architecture, they are components of other jobs.
    if arch is None:
        return "1 saved expert" if count == 1 else f"{count} saved experts"
    return arch if count == 1 else f"{count} x {arch}"


def _describe_attempt(attempt: Mapping[str, Any]) -> str:
    slurm = f"Slurm job {attempt['slurm_job_id']}" if attempt["slurm_job_id"] else ""
    step = f"from step {attempt['resumed_from_step']}" if attempt["resumed_from_step"] else ""
    message = (attempt["message"] or "").partition("\n")[0]
    outcome = ": ".join(part for part in (attempt["reason"] or attempt["outcome"], message) if part)
    return ", ".join(part for part in (attempt["host"], slurm, step, outcome) if part)


def components_table(items: Iterable[Mapping[str, Any]]) -> Table:
    """Components, one a row, with the metric that selected them, for the width of the terminal."""
    is_wide = _terminal_width() >= WIDE_COLUMNS
    columns = ["epoch", "selected by", "size", *(["value", "sha256"] if is_wide else [])]
    table = plain_table("name", id_column(), *columns)
    for item in items:
        value = item["metrics"].get(item["selected_by"])
        wide = ("" if value is None else f"{value:.4f}", item["sha256"][:12]) if is_wide else ()
        size = format_bytes(item["bytes"])
        table.add_row(item["name"], item["id"], str(item["epoch"]), item["selected_by"], size, *wide)
    return table


def tokens_table(tokens: Iterable[Mapping[str, Any]]) -> Table:
    """Tokens, one a row, without their secrets."""
    rows = (
        [*(token[name] for name in ("id", "name", "owner", "role")), token["expires_at"] or "never"] for token in tokens
    )
    return fitted_table(("id", "name", "owner", "role", "expires"), rows, {"name": 8, "owner": 8})
