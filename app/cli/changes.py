"""Commands that change the state of jobs, several at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from app.cli import sweep_tables as show_sweeps
from app.cli import tables as show
from app.cli.client import Api, ApiError
from app.cli.jobs import AnyIds, JobIds, overridden, path_of
from app.cli.terminal import AsJson, connected, err, fail, on_a_terminal, out, print_json

app = typer.Typer()


def _each(api: Api, its_ids: list[str], do: Callable[[Api, str], None]) -> None:
    """Does something to each of several; what one refuses keeps it from none of the others."""
    codes: list[int] = []
    for its_id in its_ids:
        try:
            do(api, its_id)
        except ApiError as error:
            if not error.status:
                raise
            err.print(f"Error: {error}")
            codes.append(error.exit_code)
    if codes:
        raise typer.Exit(min(codes))


def _change(verb: str, its_ids: list[str], *, as_json: bool, body: dict[str, Any] | None = None) -> None:
    def change(api: Api, its_id: str) -> None:
        changed = api.post(f"{path_of(its_id)}/{verb}", body)
        state = changed["state"] if "state" in changed else show_sweeps.line(changed)
        print_json(changed) if as_json else out.print(f"{changed['id']}  {state}", highlight=False)

    with connected() as api:
        _each(api, its_ids, change)


Resources = Annotated[
    list[str], typer.Option("--set", metavar="PATH=VALUE", help="Other resources, e.g. resources.memory_gb=32.")
]


@app.command()
def cancel(its_ids: AnyIds, as_json: AsJson = False) -> None:
    """End jobs, or all that sweeps have made; what they have trained so far stays."""
    _change("cancel", its_ids, as_json=as_json)


@app.command()
def pause(job_ids: JobIds, as_json: AsJson = False) -> None:
    """Have jobs write a checkpoint and free their devices."""
    _change("pause", job_ids, as_json=as_json)


@app.command()
def resume(job_ids: JobIds, overrides: Resources = [], as_json: AsJson = False) -> None:  # noqa: B006
    """Go on with paused jobs, on other resources if some are given."""
    _change("resume", job_ids, as_json=as_json, body=overridden({}, overrides) or None)


@app.command()
def retry(its_ids: AnyIds, overrides: Resources = [], as_json: AsJson = False) -> None:  # noqa: B006
    """Queue failed or cancelled jobs again, or those of sweeps; they go on from their checkpoints."""
    body = overridden({}, overrides) or None
    if body and any(map(show_sweeps.is_sweep, its_ids)):
        fail("--set is for jobs: those of a sweep are tried again as they are", 2)
    _change("retry", its_ids, as_json=as_json, body=body)


@app.command()
def delete(
    job_ids: JobIds,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete jobs that have ended, with all their files."""
    if on_a_terminal() and not yes:
        what = job_ids[0] if len(job_ids) == 1 else f"these {len(job_ids)} jobs"
        typer.confirm(f"Delete {what} with metrics, checkpoints and components?", abort=True)

    def remove(api: Api, job_id: str) -> None:
        gone = api.delete(f"/jobs/{job_id}")
        freed = f"{gone['id']}  freed {show.size(gone['bytes_freed'])}"
        print_json(gone) if as_json else out.print(freed, highlight=False)

    with connected() as api:
        _each(api, job_ids, remove)
