"""Watches jobs by their event streams until they end."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import typer
from rich.console import Console
from rich.live import Live

from app.cli.client import TERMINAL_STATES, Api, ApiError
from app.cli.formatting import format_accuracy, format_status
from app.cli.tables import jobs_table
from app.cli.terminal import err, out

Job = dict[str, Any]
# A job's event; None if the job is to be read again; or the exception that ended the thread.
Update = tuple[str, dict[str, Any] | Exception | None]

# Jobs beyond this number, and jobs whose stream the service refuses, are polled.
MAX_STREAMS = 16
POLL_S = 2.0


def follow_jobs(api: Api, job_ids: Sequence[str]) -> Iterator[list[Job]]:
    """Yields the jobs as they are now, and again after each change, until all are in a terminal state.

    One thread for each job reads its event stream. Progress and metrics are taken from the events; a job is read again
    when its state has changed.
    """
    jobs = {job_id: _read(api, job_id) for job_id in job_ids}
    yield list(jobs.values())
    updates: queue.SimpleQueue[Update] = queue.SimpleQueue()
    stop = threading.Event()
    try:
        for index, job_id in enumerate(job_id for job_id, job in jobs.items() if not _has_ended(job)):
            arguments = (api, job_id, updates, stop, index < MAX_STREAMS)
            threading.Thread(target=_send_updates, args=arguments, daemon=True).start()
        while not all(map(_has_ended, jobs.values())):
            outdated = set()
            for job_id, update in _next_batch(updates):
                if isinstance(update, Exception):
                    raise update
                if update is None or update["type"] == "state":
                    outdated.add(job_id)
                elif update["type"] == "alert":
                    jobs[job_id].setdefault("alerts", []).append(update["data"])
                else:
                    _apply(jobs[job_id], update)
            for job_id in outdated:
                if not _has_ended(jobs[job_id]):
                    jobs[job_id] = _read(api, job_id) | {"alerts": jobs[job_id].get("alerts", [])}
            yield list(jobs.values())
    finally:
        stop.set()


def _read(api: Api, job_id: str) -> Job:
    job: Job = api.get_patiently(f"/jobs/{job_id}")
    return job


def _has_ended(job: Job) -> bool:
    return job["state"] in TERMINAL_STATES


def _send_updates(
    api: Api, job_id: str, updates: queue.SimpleQueue[Update], stop: threading.Event, use_stream: bool
) -> None:
    """Sends a job's events and, at the end of the stream or if there is none, requests to read the job again."""
    try:
        if use_stream:
            for event in api.events(job_id):
                updates.put((job_id, event))
            updates.put((job_id, None))
            return
    except ApiError as error:
        if error.is_temporary:
            return updates.put((job_id, error))
    except Exception as error:  # the edge of a thread; the reader of the queue raises it
        return updates.put((job_id, error))
    while not stop.wait(POLL_S):
        updates.put((job_id, None))


def _next_batch(updates: queue.SimpleQueue[Update]) -> list[Update]:
    """Waits for an update; returns it with all that have arrived meanwhile, so that a replay costs one request."""
    batch = [updates.get()]
    while not updates.empty():
        batch.append(updates.get())
    return batch


def _apply(job: Job, event: dict[str, Any]) -> None:
    """Brings a job up to date with a progress or metrics event, unless a replayed event is older than the job."""
    data = event["data"]
    if data.get("step", 0) < (job["progress"]["step"] or 0):
        return
    if event["type"] == "progress":
        fraction = min(1.0, data["step"] / data["steps"]) if data.get("steps") else 0.0
        job["progress"] |= {"fraction": fraction} | data
    elif event["type"] == "metrics":
        job["metrics"] |= data["values"]


def watch_jobs(api: Api, job_ids: Sequence[str], console: Console) -> list[Job]:
    """Shows jobs until they end: a live table on a terminal, otherwise one line per change. Returns the ended jobs."""
    jobs: list[Job] = []
    alerts: dict[str, int] = {}
    if console.is_terminal:
        with Live(console=console, refresh_per_second=8) as live:
            for jobs in follow_jobs(api, job_ids):
                _print_alerts(jobs, alerts, console)
                live.update(jobs_table(jobs))
        return jobs
    printed: dict[str, tuple[str, int]] = {}
    for jobs in follow_jobs(api, job_ids):
        _print_alerts(jobs, alerts, console)
        for job in jobs:
            milestone = (job["state"], int(job["progress"]["fraction"] * 4))
            if printed.get(job["id"]) != milestone:
                printed[job["id"]] = milestone
                console.print(_describe(job))
    return jobs


def _print_alerts(jobs: Sequence[Job], printed: dict[str, int], console: Console) -> None:
    """Prints the alerts of jobs of which `printed` have been; a live table stays below them."""
    for job in jobs:
        alerts = job.get("alerts", [])
        for alert in alerts[printed.get(job["id"], 0) :]:
            name = job["name"] or job["id"]
            console.print(f"{name}  {alert['level']}: {alert['message']}")
        printed[job["id"]] = len(alerts)


def _describe(job: Job) -> str:
    progress = job["progress"]
    epoch = (
        f"epoch {progress['epoch']}/{progress['epochs']}" if job["state"] == "running" and progress["epochs"] else ""
    )
    parts = (job["name"] or job["id"], job["state"], epoch, format_accuracy(job["metrics"]), format_status(job))
    return "  ".join(part for part in parts if part)


def watch_to_the_end(api: Api, job_ids: Sequence[str]) -> None:
    """Watches jobs, then reports each one that did not succeed; exits with 1 if there is one."""
    exit_unless_succeeded(watch_jobs(api, job_ids, out))


def exit_unless_succeeded(jobs: Sequence[Job]) -> None:
    """Reports each of these jobs that did not succeed; exits with 1 if there is one."""
    unsuccessful = [job for job in jobs if job["state"] != "succeeded"]
    for job in unsuccessful:
        err.print(describe_end(job))
    if unsuccessful:
        raise typer.Exit(1)


def describe_end(job: Job) -> str:
    """How a job ended, in a sentence."""
    verb = "was" if job["state"] == "cancelled" else "has"
    explanation = job["message"] or job["reason"]
    return f"{job['id']} {verb} {job['state']}" + (f": {explanation}" if explanation else "")
