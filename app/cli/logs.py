"""`mcn logs`: the output of a job's training process."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from app.cli.arguments import JobId
from app.cli.client import RETRY_DELAY_S, Api, ApiError
from app.cli.terminal import connected, err, print_response

# Lines of context after a connection that broke.
RECONNECT_TAIL = 20


def logs(
    job_id: JobId,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Print new lines until the job ends.")] = False,
    tail: Annotated[int, typer.Option(help="Number of lines from the end.", min=0, max=100_000)] = 200,
    attempt: Annotated[int | None, typer.Option(help="Attempt number.", show_default="the latest", min=1)] = None,
) -> None:
    """Print the log of a job."""
    selected: dict[str, Any] = {} if attempt is None else {"attempt": attempt}
    with connected() as api:
        try:
            with api.stream(f"/jobs/{job_id}/logs", tail=tail, follow=follow, **selected) as response:
                has_output = print_response(response)
        except ApiError as error:
            if not (follow and error.is_temporary):
                raise
            _reconnect(api, job_id, selected)
        else:
            if not has_output:
                err.print(_explain_empty_log(attempt or api.get(f"/jobs/{job_id}")["attempt"]))


def _explain_empty_log(attempt: int) -> str:
    if attempt == 0:
        return "The job has not started yet."
    previous = f"; `--attempt {attempt - 1}` prints the previous one" if attempt > 1 else ""
    return f"Attempt {attempt} has no output{previous}."


def _reconnect(api: Api, job_id: str, selected: dict[str, Any]) -> None:
    """Follows the log again after each broken connection. A stream that ends without an error is complete."""
    while True:
        api.get_patiently(f"/jobs/{job_id}")
        err.print(f"The connection was lost. Continuing with the last {RECONNECT_TAIL} lines:")
        try:
            with api.stream(f"/jobs/{job_id}/logs", tail=RECONNECT_TAIL, follow=True, **selected) as response:
                print_response(response)
            return
        except ApiError as error:
            if not error.is_temporary:
                raise
        time.sleep(RETRY_DELAY_S)
