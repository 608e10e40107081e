"""Commands that show jobs and their components."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli import sweep_tables, tables
from app.cli.arguments import AnyId, AnyIds, AsJson, JobId, Limit, check_sweep_id, is_sweep, path_of
from app.cli.sweep_watch import watch_sweep
from app.cli.terminal import connected, out, print_json
from app.cli.watch import watch_to_the_end


def jobs(
    state: Annotated[list[str] | None, typer.Option(help="Only jobs in this state; may be repeated.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only jobs with this tag.")] = None,
    sweep: Annotated[
        str | None, typer.Option(help="Only jobs of this sweep, or none: jobs that no sweep created.")
    ] = None,
    owner: Annotated[str | None, typer.Option(help="Only jobs of this owner.")] = None,
    q: Annotated[
        str | None, typer.Option("-q", help="Only jobs whose name contains this text, or whose id begins with it.")
    ] = None,
    sort: Annotated[
        str, typer.Option(help="created_at, priority or name, with - before it in descending order; or -score.")
    ] = "-created_at",
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """List jobs, by default newest first."""
    with connected() as api:
        # The table needs no specification; the JSON has jobs with all their fields.
        fields = None if as_json else ",".join(tables.JOB_FIELDS)
        page = api.get(
            "/jobs", state=state, tag=tag, sweep=sweep, owner=owner, q=q, sort=sort, limit=limit, fields=fields
        )
        if not page["items"] and sweep not in (None, "none"):
            # A sweep that does not exist must not look like one without such jobs.
            api.get(path_of(check_sweep_id(sweep)))
    print_json(page) if as_json else out.print(tables.jobs_table(page["items"]))


def show(object_id: AnyId, as_json: AsJson = False) -> None:
    """Show a job or a sweep."""
    with connected() as api:
        details = api.get(path_of(object_id))
        if as_json:
            print_json(details)
        elif is_sweep(object_id):
            out.print(sweep_tables.sweep_details(details))
        else:
            out.print(tables.job_details(details, api.get(f"/jobs/{object_id}/attempts")["items"]))


def watch(object_ids: AnyIds) -> None:
    """Watch jobs or sweeps until they end. Exits with 1 if one did not succeed."""
    job_ids = [object_id for object_id in object_ids if not is_sweep(object_id)]
    with connected() as api:
        complete = [watch_sweep(api, object_id) for object_id in object_ids if is_sweep(object_id)]
        if job_ids:
            watch_to_the_end(api, job_ids)
        if not all(complete):
            raise typer.Exit(1)


def components(job_id: JobId, as_json: AsJson = False) -> None:
    """List the components of a job that can be downloaded."""
    with connected() as api:
        page = api.get(f"/jobs/{job_id}/components")
    print_json(page) if as_json else out.print(tables.components_table(page["items"]))
