"""Commands that change or delete jobs, several at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from app.cli import sweep_tables
from app.cli.arguments import AnyIds, AsJson, JobIds, is_sweep, path_of
from app.cli.client import Api, ApiError
from app.cli.spec_files import with_overrides
from app.cli.terminal import connected, err, fail, is_interactive, out, print_json
from app.jobs.wording import format_bytes

Resources = Annotated[
    list[str], typer.Option("--set", metavar="PATH=VALUE", help="Change resources, for example resources.cpus=4.")
]


def _for_each(object_ids: list[str], action: Callable[[Api, str], None]) -> None:
    """Runs an action for every id. One that the API refuses is reported and does not stop the others."""
    codes: list[int] = []
    with connected() as api:
        for object_id in object_ids:
            try:
                action(api, object_id)
            except ApiError as error:
                if not error.status:
                    raise
                err.print(f"Error: {error}")
                codes.append(error.exit_code)
    if codes:
        raise typer.Exit(min(codes))


def _request_change(verb: str, object_ids: list[str], *, as_json: bool, body: dict[str, Any] | None = None) -> None:
    def change(api: Api, object_id: str) -> None:
        changed = api.post(f"{path_of(object_id)}/{verb}", body)
        state = sweep_tables.summary(changed) if is_sweep(object_id) else changed["state"]
        print_json(changed) if as_json else out.print(f"{changed['id']}  {state}")

    _for_each(object_ids, change)


def cancel(object_ids: AnyIds, as_json: AsJson = False) -> None:
    """Cancel jobs, or all jobs of sweeps. The best components so far are kept."""
    _request_change("cancel", object_ids, as_json=as_json)


def pause(job_ids: JobIds, as_json: AsJson = False) -> None:
    """Save a checkpoint of running jobs and free their devices."""
    _request_change("pause", job_ids, as_json=as_json)


def resume(job_ids: JobIds, overrides: Resources = [], as_json: AsJson = False) -> None:  # noqa: B006
    """Resume paused jobs, with other resources if you like."""
    _request_change("resume", job_ids, as_json=as_json, body=with_overrides({}, overrides) or None)


def retry(object_ids: AnyIds, overrides: Resources = [], as_json: AsJson = False) -> None:  # noqa: B006
    """Queue failed or cancelled jobs again, or those of sweeps. They resume from their latest checkpoints, if any."""
    body = with_overrides({}, overrides) or None
    if body and any(map(is_sweep, object_ids)):
        fail("--set changes jobs only: the jobs of a sweep are retried with the resources they have", 2)
    _request_change("retry", object_ids, as_json=as_json, body=body)


def delete(
    job_ids: JobIds,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Delete without confirmation.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete jobs that have ended, with all their files."""
    if is_interactive() and not yes:
        which = job_ids[0] if len(job_ids) == 1 else f"these {len(job_ids)} jobs"
        typer.confirm(f"Delete {which} with metrics, checkpoints and components?", abort=True)

    def delete_job(api: Api, job_id: str) -> None:
        deleted = api.delete(f"/jobs/{job_id}")
        freed = format_bytes(deleted["bytes_freed"])
        print_json(deleted) if as_json else out.print(f"{deleted['id']}  deleted, {freed} freed")

    _for_each(job_ids, delete_job)
