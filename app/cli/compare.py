"""`mcn compare`: two models on the same images, in plain words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from app.cli.arguments import AsJson
from app.cli.tables import plain_table
from app.cli.terminal import connected, fail, out, print_json
from app.jobs.wording import count


def _check_reference(value: str) -> str:
    """`JOB` or `JOB:PATH`; exits with 2 if it cannot be one."""
    if not re.fullmatch(r"[A-Za-z0-9_]{1,64}(:[a-z0-9_]{1,32})?", value):
        fail(f"{value[:80]!r} is not a valid model reference: write JOB or JOB:PATH, such as job_01J..:expert_0", 2)
    return value


_HELP = "A job, or JOB:PATH with fused, expert_0, expert_0_before, ensemble_logits, .."


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help=_HELP, callback=_check_reference)],
    b: Annotated[str, typer.Argument(metavar="B", help="What A is compared with.", callback=_check_reference)],
    split: Annotated[str, typer.Option(help="test or val.")] = "test",
    as_json: AsJson = False,
) -> None:
    """Say whether one model is better than another on the same images, and how sure that is."""
    with connected() as api:
        comparison = api.get("/compare", a=a, b=b, split=split)
    if as_json:
        print_json(comparison)
        return
    difference = comparison["difference"]
    out.print(f"{comparison['sentence']}.")
    out.print(f"Only A is right on {count(difference['only_a'], 'image')}, only B on {difference['only_b']:,}.")
    out.print("")
    out.print(_table(comparison))
    for side in ("a", "b"):
        if comparison[side]["not_scaled"]:
            out.print(f"{side.upper()} is not temperature-scaled: {comparison[side]['not_scaled']}.")


def _table(comparison: Mapping[str, Any]) -> Table:
    numbers = [Column(name, justify="right") for name in ("accuracy", "95 % interval", "NLL", "ECE", "T")]
    scaled = [Column(name, justify="right") for name in ("NLL at T", "ECE at T")]
    table = plain_table("", Column("model", overflow="fold"), *numbers, *scaled)
    for side in ("a", "b"):
        model = comparison[side]
        at_t = model["scaled"] or {}
        table.add_row(
            side.upper(),
            f"{model['name'] or model['job']} ({model['path']})",
            _number(model["accuracy"]),
            f"{_number(model['low'])} to {_number(model['high'])}",
            _number(model["nll"]),
            _number(model["ece"]),
            _number(at_t.get("temperature")),
            _number(at_t.get("nll")),
            _number(at_t.get("ece")),
        )
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
