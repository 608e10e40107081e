"""Commands that run, upgrade and check the service."""

from __future__ import annotations

import sys
import time
from contextlib import closing, suppress
from typing import Annotated, Any

import typer
from rich.text import Text

from app.cli.arguments import AsJson
from app.cli.client import Api, ApiError
from app.cli.terminal import connected, err, fail, out, print_json, settings
from app.operations.broker import broker_address, broker_trouble
from app.settings import Settings

# States in which a job has a process.
ACTIVE_STATES = ["starting", "running", "pausing", "cancelling"]
# The most jobs that are named in one command.
MAX_NAMED = 10


def up(stop_jobs: Annotated[bool, typer.Option(help="Pause running jobs on exit.")] = False) -> None:
    """Run the service (API and worker) until Ctrl-C. Running jobs continue without it."""
    from app.supervisor.up import CannotStart, running, wait_for_signal

    configured = settings()
    try:
        with running(configured, say=err.print) as parts:
            out.print(f"MCN Fusion is running at {configured.api_url} (API docs: {configured.api_url}/docs).")
            out.print(f"The admin token is in {configured.data_dir / 'admin-token'}; `mcn` reads it from there.")
            _print_login_link(configured)
            if trouble := broker_trouble(configured):
                err.print(f"The broker {broker_address(configured)} is not reachable ({trouble}): jobs start later.")
            out.print("Press Ctrl-C to stop the service.")
            wait_for_signal(parts)
            with connected() as api:
                if stop_jobs:
                    _pause_jobs(api, configured)
                _report_running_jobs(api)
    except CannotStart as error:
        fail(str(error))


def login() -> None:
    """Print a link that logs a browser into the dashboard as you. It works once, within ten minutes."""
    with connected() as api:
        out.print(api.post("/login-links")["url"], soft_wrap=True)


def _print_login_link(configured: Settings) -> None:
    # Without it the service runs all the same.
    with suppress(ApiError), closing(Api(configured)) as api:
        link = api.post("/login-links")["url"]
        out.print(f"Dashboard: {link}", soft_wrap=True)
        out.print("The link works once, for ten minutes; `mcn login` prints another one.")


def _pause_jobs(api: Api, configured: Settings) -> None:
    """Pauses every active job, waits until their processes have ended, and starts no job on the free devices."""
    configured.no_new_starts.touch()
    announced: list[str] = []
    deadline = time.monotonic() + configured.grace_s + 30
    while (jobs := _active_jobs(api)) and time.monotonic() < deadline:
        for job in jobs:
            if job["id"] not in announced:
                announced.append(job["id"])
                out.print(f"Pausing {job['id']} ...")
            # The job may have ended since it was listed.
            if job["state"] in ("starting", "running"):
                with suppress(ApiError):
                    api.post(f"/jobs/{job['id']}/pause")
        time.sleep(0.2)
    paused = {job["id"] for job in _list_jobs(api, ["paused"])} if announced else set()
    if resumable := [job_id for job_id in announced if job_id in paused]:
        out.print(_how_to_resume(resumable))


def _how_to_resume(ids: list[str]) -> str:
    if len(ids) > MAX_NAMED:
        return "To resume them: `mcn up`, then `mcn resume` with their ids, which `mcn jobs --state paused` lists."
    return f"To resume {'it' if len(ids) == 1 else 'them'}: `mcn up`, then `mcn resume {' '.join(ids)}`."


def _report_running_jobs(api: Api) -> None:
    jobs = _active_jobs(api)
    if not jobs:
        out.print("No jobs are running.")
        return
    ids = ", ".join(job["id"] for job in jobs)
    subject, them = ("1 job continues", "it") if len(jobs) == 1 else (f"{len(jobs)} jobs continue", "them")
    out.print(f"{subject} to train without the service: {ids}. The next `mcn up` reconnects to {them}.")


def _active_jobs(api: Api) -> list[dict[str, Any]]:
    return _list_jobs(api, ACTIVE_STATES)


def _list_jobs(api: Api, states: list[str]) -> list[dict[str, Any]]:
    return list(api.get("/jobs", state=states, limit=200, fields="id,state")["items"])


def demo() -> None:
    """Train four experts and their fusion on handwritten digits, with controls, and print the results."""
    from app.cli import demo as demonstration
    from app.supervisor.up import CannotStart, running, wait_for_signal

    configured = settings()
    try:
        with running(configured, say=err.print) as parts, connected() as api:
            out.print(f"MCN Fusion is running at {configured.api_url}.")
            if not demonstration.run(api, configured):
                raise typer.Exit(1)
            if out.is_terminal:
                _print_login_link(configured)
                out.print(f"Press Ctrl-C to stop the service. Try `{sys.argv[0]} jobs` in another terminal.")
                wait_for_signal(parts)
    except CannotStart as error:
        fail(str(error))


def upgrade_database() -> None:
    """Upgrade the database to the latest schema."""
    from sqlalchemy.exc import SQLAlchemyError

    from app.db import upgrade

    configured = settings()
    try:
        configured.make_folders()
        upgrade(configured.sqlalchemy_url)
    except (SQLAlchemyError, OSError) as error:
        fail(f"the database cannot be upgraded: {str(error).splitlines()[0]}")
    out.print("The database is up to date.")


def doctor(
    worker: Annotated[bool, typer.Option("--worker", help="Check only that the worker of this machine runs.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check what is installed, reachable and writable, and suggest fixes. Exits with 1 if something is missing."""
    from app.cli.doctor import Check, run_checks
    from app.cli.worker_health import check_worker

    configured = settings()
    checks = [Check(*check_worker(configured, configured.worker_host))] if worker else list(run_checks(configured))
    if as_json:
        print_json([check.to_json() for check in checks])
    else:
        for check in checks:
            mark = ("ok", "green") if check.ok else ("no", "red") if check.required else ("--", "")
            out.print(Text.assemble(mark, f"  {check.name}: {check.detail}"))
    raise typer.Exit(0 if all(check.ok or not check.required for check in checks) else 1)
