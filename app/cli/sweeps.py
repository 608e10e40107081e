"""Commands on sweeps."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from app.cli import sweep_tables as show_sweeps
from app.cli.jobs import Follow, SpecFile, body_of, read_file
from app.cli.terminal import AsJson, an_id, connected, err, fail, out, print_json
from core.spec.load import apply_override

app = typer.Typer()

SweepId = Annotated[str, typer.Argument(metavar="ID", help="A sweep's id.", callback=an_id)]
Metric = Annotated[str | None, typer.Option(help="What it is judged by. [default: test accuracy]")]
Overrides = Annotated[
    list[str],
    typer.Option("--set", metavar="PATH=VALUE", help="Override, e.g. base.training.epochs=3, grid.training.seed=[1,2]"),
]


@app.command()
def sweep(
    file: SpecFile,
    overrides: Overrides = [],  # noqa: B006
    dry_run: Annotated[bool, typer.Option(help="Say what it would be; submit nothing.")] = False,
    follow: Follow = False,
    fresh: Annotated[bool, typer.Option(help="Train anew what has been trained before.")] = False,
    metric: Metric = None,
    key: Annotated[str | None, typer.Option(help="Idempotency key: the same key makes one sweep.")] = None,
    as_json: AsJson = False,
) -> None:
    """Submit a job for every point of a grid: a file with a base specification and a grid of its fields."""
    body = read_file(file, overrides, _override)
    if "kind" in body and "base" not in body:
        fail(f"{file} is a job: `mcn submit` takes it; a sweep has a base, which is a job, and a grid", 2)
    if fresh:
        body["fresh"] = True
    sent = body_of(body)
    with connected() as api:
        if dry_run:
            return _preview(api.post("/sweeps?dry_run=true", sent), as_json)
        made = api.post("/sweeps", sent, headers={"Idempotency-Key": key} if key else {})
        if as_json and not follow:
            return print_json(made)
        if not as_json:
            out.print(f"{made['id']}  {made['count']} points: {show_sweeps.line(made)}", highlight=False)
        if follow and as_json:
            print_json(ended := show_sweeps.follow(api, made["id"], err, metric))
            good = show_sweeps.num_bad(ended) == 0
        elif follow:
            good = show_sweeps.watch(api, made["id"], out, err, metric)
        if follow and not good:
            raise typer.Exit(1)


def _override(body: dict[str, Any], override: str) -> None:
    """One override; the keys of a grid are paths themselves."""
    path, equals, text = override.partition("=")
    if equals and path.startswith("grid.") and isinstance(body.get("grid", {}), dict):
        read: dict[str, Any] = {}
        apply_override(read, f"values={text}")
        body.setdefault("grid", {})[path.removeprefix("grid.")] = read["values"]
    else:
        apply_override(body, override)


def _preview(preview: dict[str, Any], as_json: bool) -> None:
    if as_json:
        return print_json(preview)
    told = preview["estimate"]
    hours = "not known yet" if told["gpu_hours"] is None else f"{told['gpu_hours']:.2f} device hours"
    out.print(f"{preview['count']} points: {preview['new']} new, {preview['reused']} reused", highlight=False)
    for point in preview["points"][: show_sweeps.TOP]:
        out.print(f"  {point['name']}  {'reused' if point['reused'] else ''}", markup=False, highlight=False)
    if preview["count"] > show_sweeps.TOP:
        out.print(f"  and {preview['count'] - show_sweeps.TOP} more", highlight=False)
    out.print(f"Cost: {hours} ({told['why']})", markup=False, highlight=False)


@app.command("sweeps")
def list_sweeps(limit: Annotated[int, typer.Option(help="At most.")] = 20, as_json: AsJson = False) -> None:
    """List sweeps, newest first."""
    with connected() as api:
        page = api.get("/sweeps", limit=limit)
    print_json(page) if as_json else out.print(show_sweeps.sweeps_table(page["items"]))


@app.command()
def leaderboard(
    sweep_id: SweepId,
    metric: Metric = None,
    mode: Annotated[str | None, typer.Option(help="max or min. [default: by the metric]")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what is best in a sweep, over its seeds."""
    asked: dict[str, Any] = {name: value for name, value in (("metric", metric), ("mode", mode)) if value is not None}
    with connected() as api:
        if as_csv:
            with api.stream(f"/sweeps/{sweep_id}/leaderboard.csv", **asked) as answer:
                for text in answer.iter_text():
                    print(text, end="")
            return
        shown = api.get(f"/sweeps/{sweep_id}", **asked)
    if as_json:
        return print_json({name: shown[name] for name in ("id", "metric", "mode", "leaderboard")})
    if shown["counts"]["succeeded"] and not any(row["n"] for row in shown["leaderboard"]):
        fail(f"no point has {shown['metric']}: `mcn show` of a job that has succeeded lists what there is")
    out.print(show_sweeps.leaderboard_table(shown))
