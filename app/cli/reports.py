"""Commands that report on one job: why it is in its state, where its time went, and what its result comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer
from rich.table import Column, Table

from app.cli.arguments import AsJson, JobId
from app.cli.formatting import format_duration
from app.cli.tables import plain_table
from app.cli.terminal import connected, out, print_json


def _get(path: str, *, as_json: bool) -> Any:
    """What the service answers; with `as_json` the command prints that and ends."""
    with connected() as api:
        content = api.get(path)
    if as_json:
        print_json(content)
        raise typer.Exit
    return content


def explain(job_id: JobId, as_json: AsJson = False) -> None:
    """Say why a job is in its state, and what can be done."""
    explanation = _get(f"/jobs/{job_id}/explain", as_json=as_json)
    out.print(explanation["sentence"])
    for sentence in explanation["evidence"]:
        out.print(f"- {sentence}")
    for action in explanation["actions"]:
        out.print(f"{action['label']}: {action['command']}")


def ledger(job_id: JobId, as_json: AsJson = False) -> None:
    """Show how much device time of a job was useful, was done again, was silent, or passed while it waited."""
    content = _get(f"/jobs/{job_id}/ledger", as_json=as_json)
    out.print(_attempts_table(content))
    causes = _causes_table(content)
    if causes.row_count:
        out.print("")
        out.print(causes)
    if content["useful_share"] is not None:
        out.print(f"\n{100 * content['useful_share']:.0f} % of the device time, waiting included, was useful.")
    if content["totals"]["unknown"]:
        out.print(f"Not known how much of {_time(content['totals']['unknown'])} was done again.")


def _attempts_table(ledger: Mapping[str, Any]) -> Table:
    numbers = [Column(name, justify="right") for name in ("devices", "useful", "redone", "silent", "waiting")]
    table = plain_table("attempt", *numbers, "reason")
    for row in ledger["attempts"]:
        redone = _time(row["redone"]) + (f" ({row['redone_steps']} steps)" if row["redone_steps"] else "")
        cells = [str(row["devices"]), _time(row["useful"]), redone, _time(row["silent"]), _time(row["waiting"])]
        table.add_row(str(row["attempt"]), *cells, row["reason"] or "")
    totals = ledger["totals"]
    table.add_row("total", "", *(_time(totals[name]) for name in ("useful", "redone", "silent", "waiting")), "")
    return table


def _causes_table(ledger: Mapping[str, Any]) -> Table:
    table = plain_table("cause", *(Column(name, justify="right") for name in ("redone", "silent", "waiting")))
    for cause, totals in sorted(ledger["by_cause"].items()):
        table.add_row(cause, _time(totals["redone"]), _time(totals["silent"]), _time(totals["waiting"]))
    return table


def _time(minutes: float | None) -> str:
    """Device-minutes as a duration; `?` where they are not known."""
    return "?" if minutes is None else format_duration(60 * minutes)


def provenance(job_id: JobId, as_json: AsJson = False) -> None:
    """Show what a result was computed from: data, code, libraries, device, checkpoints; and whether it is bit-exact."""
    content = _get(f"/jobs/{job_id}/provenance", as_json=as_json)
    out.print(content["sentence"])
    if (data := content["data"]) is not None:
        parts = f"{data['num_parts']:,} part{'' if data['num_parts'] == 1 else 's'}"
        out.print(f"data {data['dataset']}: {parts}, {data['size_bytes']:,} bytes, sha256 {data['sha256'][:16]}")
    if content["identity"] is not None:
        out.print(f"identity {content['identity'][:16]}")
    out.print("")
    table = plain_table("attempt", "host", "device", "torch", "precision", "threads", "resumed from")
    for row in content["attempts"]:
        table.add_row(str(row["attempt"]), row["host"], *_environment(row["environment"]), _resume_point(row))
    out.print(table)
    for step, differences in content["changes"].items():
        out.print(f"From step {step} on: {', '.join(differences)}")
    if content["sources"]:
        out.print("")
        sources = plain_table("started from", "sha256", "identity", "of job")
        for row in content["sources"]:
            sources.add_row(row["field"], row["content_sha256"][:16], (row["identity"] or "")[:16], row["job"] or "")
        out.print(sources)
    if content["checkpoints"]:
        out.print("")
        numbers = [Column(name, justify="right") for name in ("step", "epoch")]
        checkpoints = plain_table(*numbers, "checkpoint sha256", "parent")
        for row in content["checkpoints"]:
            parent = (row["parent"] or "")[:16]
            checkpoints.add_row(str(row["step"]), str(row["epoch"]), row["sha256"][:16], parent)
        out.print(checkpoints)
    for sentence in content["known"]:
        out.print(f"{sentence}.")


def _environment(environment: Mapping[str, Any] | None) -> list[str]:
    if environment is None:
        return ["not recorded", "", "", ""]
    device = environment["device"]
    name = device["gpu"] if device["type"] == "cuda" else device["cpu"]
    libraries = environment["software"]["libraries"]
    return [name, libraries.get("torch", ""), environment["precision"], str(environment["threads"])]


def _resume_point(row: Mapping[str, Any]) -> str:
    point = row["resumed_from"]
    return f"step {point['step']} ({point['sha256'][:12]})" if point else ""
