"""Commands that run the service and look after it."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import Annotated, Any

import typer
from rich.text import Text

from app.cli.client import Api, ApiError
from app.cli.terminal import AsJson, connected, err, fail, out, print_json, settings
from app.settings import Settings

app = typer.Typer()
db_app = typer.Typer(no_args_is_help=True, help="The database.")
app.add_typer(db_app, name="db")


@app.command()
def up(stop_jobs: Annotated[bool, typer.Option(help="On the way out, pause what still trains.")] = False) -> None:
    """Run the service here: API and worker, until Ctrl-C. What trains goes on training."""
    from app.supervisor.up import CannotStart, running, wait_for_signal

    configured = settings()
    try:
        with running(configured, say=lambda line: err.print(line, markup=False)) as parts:
            out.print(f"MCN Fusion is up at {configured.api_url}  (docs at {configured.api_url}/docs)")
            token = configured.data_dir / "admin-token"
            out.print(f"Token: {token}, which `mcn` finds by itself. Ctrl-C ends the service.")
            wait_for_signal(parts)
            with connected() as api:
                if stop_jobs:
                    _pause_what_runs(api, configured)
                _say_what_runs(api)
    except CannotStart as error:
        fail(str(error))
    except ApiError as error:
        err.print(str(error), markup=False)


ACTIVE = ("starting", "running", "pausing", "cancelling")


def _pause_what_runs(api: Api, configured: Settings) -> None:
    """Has every job write a checkpoint and end; nothing new is started in the place that becomes free."""
    configured.no_new_starts.touch()
    said: set[str] = set()
    deadline = time.monotonic() + configured.grace_s + 30
    while (jobs := _active(api)) and time.monotonic() < deadline:
        for job in jobs:
            if job["id"] not in said:
                said.add(job["id"])
                out.print(f"Pausing {job['id']} ...", highlight=False)
            # One that is just starting can be paused once it runs; one may have ended in the meantime.
            if job["state"] == "running":
                with suppress(ApiError):
                    api.post(f"/jobs/{job['id']}/pause")
        time.sleep(0.2)
    if said:
        out.print("`mcn up`, then `mcn resume` goes on with them.", highlight=False)


def _say_what_runs(api: Api) -> None:
    jobs = _active(api)
    if not jobs:
        out.print("Nothing trains. Bye.")
        return
    named = ", ".join(job["id"] for job in jobs)
    what = "1 job goes" if len(jobs) == 1 else f"{len(jobs)} jobs go"
    out.print(f"{what} on training without the service: {named}. `mcn up` finds them again.")


def _active(api: Api) -> list[dict[str, Any]]:
    return list(api.get("/jobs", state=list(ACTIVE), limit=200)["items"])


@app.command()
def demo() -> None:
    """Train four experts and their fusion on real digits, through the API, and show what came out."""
    from app.cli import demo as demonstration
    from app.supervisor.up import CannotStart, running, wait_for_signal

    configured = settings()
    try:
        with running(configured, say=lambda line: err.print(line, markup=False)) as parts, connected() as api:
            out.print(f"MCN Fusion is up at {configured.api_url}")
            if not demonstration.run(api, configured, out):
                raise typer.Exit(1)
            out.print(f"API and docs: {configured.api_url}/docs  (token: {configured.data_dir / 'admin-token'})")
            if sys.stdout.isatty():
                out.print(f"The service stays up until Ctrl-C; try `{sys.argv[0]} jobs` in another terminal.")
                wait_for_signal(parts)
    except CannotStart as error:
        fail(str(error))


@db_app.command("upgrade")
def db_upgrade() -> None:
    """Bring the database to the newest version."""
    from sqlalchemy.exc import SQLAlchemyError

    from app.db import upgrade

    configured = settings()
    try:
        configured.make_folders()
        upgrade(configured.sqlalchemy_url)
    except (SQLAlchemyError, OSError) as error:
        fail(f"the database cannot be upgraded: {str(error).splitlines()[0]}")
    out.print("The database is up to date.")


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Say what is installed, reachable and writable, and what to do about the rest."""
    from app.cli.doctor import examine

    findings = list(examine(settings()))
    if as_json:
        print_json([finding.__dict__ for finding in findings])
    else:
        for finding in findings:
            mark = ("ok", "green") if finding.well else ("no", "red") if finding.needed else ("--", "")
            out.print(Text.assemble(mark, f"  {finding.what}: {finding.seen}"))
    raise typer.Exit(0 if all(finding.well or not finding.needed for finding in findings) else 1)
