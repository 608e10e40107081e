"""What the command line prints: tables, and jobs that are watched as they go."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from rich.console import Console
from rich.live import Live
from rich.table import Column, Table
from rich.text import Text

from app.cli.client import TERMINAL_STATES, Api, ApiError

Found = TypeVar("Found")

COLORS = {
    "succeeded": "green",
    "failed": "red",
    "cancelled": "yellow",
    "running": "cyan",
    "starting": "cyan",
    "paused": "magenta",
}


# In fewer columns of a terminal than these a table of jobs leaves things out.
NARROW = 140


def size(count: int) -> str:
    """Bytes as a person says them."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError


def jobs_table(jobs: Iterable[Mapping[str, Any]]) -> Table:
    """Jobs, one a row."""
    # Where there is little room the name, the bar and the last column give way; a cut id or state is of no use.
    columns = shutil.get_terminal_size((80 if sys.stdout.isatty() else 200, 24)).columns
    narrow = columns < NARROW
    names = ["id", "kind", "name", "state", "progress", "accuracy", *([] if narrow else [""])]
    table = Table(*(Column(name, no_wrap=True) for name in names), box=None, pad_edge=False)
    for job in jobs:
        row = [
            job["id"],
            job["kind"],
            _cut(job["name"], max(4, columns - 80) if narrow else 200),
            _state(job["state"]),
            bar(job["progress"], 0 if narrow else 16),
            accuracy(job["metrics"]),
        ]
        table.add_row(*row, *([] if narrow else [pace(job)]))
    return table


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _state(state: str) -> Text:
    return Text(state, style=COLORS.get(state, ""))


def bar(progress: Mapping[str, Any], width: int = 16) -> str:
    """How far, as a bar and in percent."""
    done = round(progress["fraction"] * width)
    return f"{'━' * done}{'╌' * (width - done)} {100 * progress['fraction']:3.0f} %".lstrip()


def accuracy(metrics: Mapping[str, float | None]) -> str:
    """The accuracy that says most: on test if it is there, of the fused path if there is one."""
    for part in ("test", "val"):
        for path in ("fused", "expert_0"):
            value = metrics.get(f"{part}/accuracy_{path}")
            if value is not None:
                return f"{part} {value:.3f}"
    return ""


def pace(job: Mapping[str, Any]) -> str:
    """Images a second and the time left, or why it is where it is."""
    if job["state"] in ("running",):
        speed, eta = job["progress"]["images_per_s"], job["progress"]["eta_s"]
        parts = [f"{speed:,.0f} img/s" if speed else "", f"{duration(eta)} left" if eta else ""]
        return "  ".join(part for part in parts if part)
    if job["state"] == "waiting":
        return "for 1 job" if len(job["waits_for"]) == 1 else f"for {len(job['waits_for'])} jobs"
    if job["state"] == "paused":
        return "`mcn resume` goes on with it"
    if job["reason"] == "user" and not job["message"]:
        return "on request"
    said = (job["message"] or job["reason"] or "").partition("\n")[0]
    return said if len(said) <= 60 else f"{said[:59]}…"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 60}m {whole % 60:02d}s" if whole >= 60 else f"{whole}s"


def watch(api: Api, job_ids: list[str], console: Console) -> list[dict[str, Any]]:
    """Shows jobs until all have ended: live on a terminal, a line a change elsewhere. Gives them as they ended."""
    said: dict[str, str] = {}
    with Live(console=console, refresh_per_second=8, transient=False) if console.is_terminal else _Nothing() as live:
        while True:
            jobs = patiently(lambda: [api.get(f"/jobs/{job_id}") for job_id in job_ids])
            if isinstance(live, Live):
                live.update(jobs_table(jobs))
            else:
                for job in jobs:
                    _say_changes(job, said, console)
            if all(job["state"] in TERMINAL_STATES for job in jobs):
                return jobs
            time.sleep(0.4)


PATIENCE_S = 60.0


def patiently(ask: Callable[[], Found]) -> Found:
    """The answer of an API that may be away for a moment; raises ApiError once it has been away for a minute."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return ask()
        except ApiError as error:
            if error.status not in (0, 502, 503) or time.monotonic() > deadline:
                raise
        time.sleep(0.5)


def _say_changes(job: Mapping[str, Any], said: dict[str, str], console: Console) -> None:
    progress = job["progress"]
    quarter = int(progress["fraction"] * 4)
    line = f"{job['state']} {quarter}"
    if said.get(job["id"]) != line:
        said[job["id"]] = line
        parts = [job["name"] or job["id"], job["state"]]
        if job["state"] == "running" and progress["epochs"]:
            parts.append(f"epoch {progress['epoch']}/{progress['epochs']}")
        parts += [accuracy(job["metrics"]), pace(job)]
        console.print("  ".join(part for part in parts if part), markup=False, highlight=False, soft_wrap=True)


class _Nothing:
    def __enter__(self) -> _Nothing:
        return self

    def __exit__(self, *_: object) -> None:
        return


def job_table(job: Mapping[str, Any], attempts: Sequence[Mapping[str, Any]] = ()) -> Table:
    """One job, field by field, with its attempts if they have something to tell."""
    table = Table.grid(padding=(0, 2))

    def add(name: str, value: object) -> None:
        if value not in (None, "", []):
            table.add_row(name, Text(", ".join(value) if isinstance(value, list) else str(value)))

    for name in ("id", "kind", "name", "tags", "state", "reason", "message"):
        add(name, job[name])
    add("trains" if job["kind"] != "evaluate" else "measures", _what(job["spec"]))
    for name in ("owner", "created_at", "started_at", "finished_at"):
        add(name, job[name])
    add("progress", f"{bar(job['progress'])}  {pace(job) if job['state'] == 'running' else ''}")
    add("waits for", job["waits_for"])
    for attempt in attempts:
        if len(attempts) > 1 or attempt["slurm_job_id"]:
            add(f"attempt {attempt['number']}", _told(attempt))
    for key, value in job["metrics"].items():
        if key.startswith(("test/", "val/accuracy")) and value is not None:
            table.add_row(key, f"{value:.4f}")
    return table


def _what(spec: Mapping[str, Any]) -> str:
    """A specification in a line."""
    experts = spec.get("experts") or [spec["expert"]]
    named = [expert.get("arch") or "expert" for expert in experts]
    counts = {name: named.count(name) for name in named}
    parts = [" + ".join(name if count == 1 else f"{count} x {name}" for name, count in counts.items())]
    parts += [spec["fusion"]["type"]] if (spec.get("fusion") or {}).get("type") else []
    parts.append(f"on {spec['dataset']['name']}")
    if spec["kind"] != "evaluate":
        parts += [f"{spec['training']['epochs']} epochs", f"batches of {spec['training']['batch_size']}"]
    return ", ".join(parts)


def _told(attempt: Mapping[str, Any]) -> str:
    """An attempt in a line: where, from which step on, and how it ended."""
    slurm = f"Slurm job {attempt['slurm_job_id']}" if attempt["slurm_job_id"] else ""
    step = f"from step {attempt['resumed_from_step']}" if attempt["resumed_from_step"] else ""
    said = (attempt["message"] or "").partition("\n")[0]
    outcome = ": ".join(part for part in (attempt["reason"] or attempt["outcome"], said) if part)
    return ", ".join(part for part in (attempt["host"], slurm, step, outcome) if part)


def components_table(items: Iterable[Mapping[str, Any]]) -> Table:
    """Components, one a row."""
    table = Table("name", "id", "epoch", "selected by", "size", "sha256", box=None, pad_edge=False)
    for item in items:
        best = item["metrics"].get(item["selected_by"])
        chosen = f"{item['selected_by']} {best:.3f}" if best is not None else item["selected_by"]
        table.add_row(item["name"], item["id"], str(item["epoch"]), chosen, size(item["bytes"]), item["sha256"][:12])
    return table
