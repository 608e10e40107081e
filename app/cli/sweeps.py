"""Commands on sweeps."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from app.cli import sweep_tables
from app.cli.arguments import AsJson, Limit, SweepId, key_header
from app.cli.spec_files import SpecFile, encode_spec, read_spec_file
from app.cli.sweep_watch import follow_sweep, num_without_result, watch_sweep
from app.cli.terminal import connected, err, fail, out, print_json, print_response
from app.jobs.wording import count, device_time
from core.spec.load import apply_override

Metric = Annotated[str | None, typer.Option(help="Metric that ranks the points.", show_default="validation accuracy")]
Overrides = Annotated[
    list[str],
    typer.Option(
        "--set", metavar="PATH=VALUE", help="Set a field: base.training.epochs=3, or grid.training.seed=[1,2]."
    ),
]


def sweep(
    file: SpecFile,
    overrides: Overrides = [],  # noqa: B006
    dry_run: Annotated[bool, typer.Option(help="Validate, print points and cost, submit nothing.")] = False,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Watch the sweep until it ends.")] = False,
    fresh: Annotated[bool, typer.Option(help="Train every point, even if a job with the same result exists.")] = False,
    metric: Metric = None,
    key: Annotated[str | None, typer.Option(help="Idempotency key: a repeated key returns the same sweep.")] = None,
    as_json: AsJson = False,
) -> None:
    """Submit a sweep: one job for each point of a grid, from a file with `base` and `grid`."""
    spec = read_spec_file(file, overrides, _apply_override)
    if "kind" in spec and "base" not in spec:
        fail(f"{file} is the specification of a job: submit it with `mcn submit`; a sweep has `base` and `grid`", 2)
    if fresh:
        spec["fresh"] = True
    body = encode_spec(spec)
    with connected() as api:
        if dry_run:
            return _print_preview(api.post("/sweeps?dry_run=true", body), as_json=as_json)
        created = api.post("/sweeps", body, headers=key_header(key))
        if not as_json:
            out.print(f"{created['id']}  {created['count']} points: {sweep_tables.summary(created)}")
        if not follow:
            return print_json(created) if as_json else None
        if as_json:
            ended = follow_sweep(api, created["id"], err, metric)
            print_json(ended)
            complete = num_without_result(ended) == 0
        else:
            complete = watch_sweep(api, created["id"], metric)
        if not complete:
            raise typer.Exit(1)


def _apply_override(spec: dict[str, Any], override: str) -> None:
    """Sets one field. The keys of a grid are paths themselves, so what follows `grid.` is one key."""
    path, equals, text = override.partition("=")
    if equals and path.startswith("grid.") and isinstance(spec.get("grid", {}), dict):
        parsed: dict[str, Any] = {}
        apply_override(parsed, f"values={text}")
        spec.setdefault("grid", {})[path.removeprefix("grid.")] = parsed["values"]
    else:
        apply_override(spec, override)


def _print_preview(preview: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        return print_json(preview)
    estimate = preview["estimate"]
    hours = estimate["gpu_hours"]
    cost = "none" if hours == 0 and not estimate["based_on"] else "unknown" if hours is None else device_time(hours)
    out.print(f"{count(preview['count'], 'point')}: {preview['new']} new, {preview['reused']} reused")
    for point in preview["points"][: sweep_tables.TOP_ROWS]:
        out.print(f"  {point['name']}{'  reused' if point['reused'] else ''}")
        if point["why_not_reused"]:
            out.print(f"    {point['why_not_reused']}")
    if (hidden := preview["count"] - sweep_tables.TOP_ROWS) > 0:
        out.print(f"  and {hidden} more")
    if preview["controls"]:
        _print_controls(preview)
    out.print(f"Cost: {cost} ({estimate['why']})")


def _print_controls(preview: dict[str, Any]) -> None:
    controls = preview["controls"]
    out.print(f"Controls beside them: {preview['new_controls']} new, {preview['reused_controls']} reused")
    for control in controls[: sweep_tables.TOP_ROWS]:
        points = count(control["points"], "point")
        if control["absent"]:
            out.print(f"  no {', '.join(control['roles'])} of {points}: {control['absent']}")
            continue
        out.print(f"  {control['name']} (of {points}){'  reused' if control['reused'] else ''}")
        if control["why_not_reused"]:
            out.print(f"    {control['why_not_reused']}")
    if (hidden := len(controls) - sweep_tables.TOP_ROWS) > 0:
        out.print(f"  and {hidden} more")


def list_sweeps(limit: Limit = 20, as_json: AsJson = False) -> None:
    """List sweeps, newest first."""
    with connected() as api:
        page = api.get("/sweeps", limit=limit)
    print_json(page) if as_json else out.print(sweep_tables.sweeps_table(page["items"]))


def leaderboard(
    sweep_id: SweepId,
    metric: Metric = None,
    mode: Annotated[str | None, typer.Option(help="max or min.", show_default="depends on the metric")] = None,
    baseline: Annotated[
        str | None,
        typer.Option(metavar="JOB", help="A job of the row that others are compared with.", show_default="best"),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: AsJson = False,
) -> None:
    """Rank the points of a sweep, with intervals over seeds and differences to the best or a chosen row."""
    parameters = {"metric": metric, "mode": mode, "baseline": baseline}
    options: dict[str, Any] = {name: value for name, value in parameters.items() if value is not None}
    with connected() as api:
        if as_csv:
            with api.stream(f"/sweeps/{sweep_id}/leaderboard.csv", **options) as response:
                print_response(response)
            return
        details = api.get(f"/sweeps/{sweep_id}", **options)
    if as_json:
        return print_json({name: details[name] for name in ("id", "metric", "mode", "leaderboard")})
    if details["counts"]["succeeded"] and not any(row["n"] for row in details["leaderboard"]):
        fail(f"no point has the metric {details['metric']}: `mcn show` lists the metrics of a job that succeeded", 2)
    out.print(sweep_tables.leaderboard_table(details))
