"""`mcn`: the command line, over the same API that everybody uses."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app import show
from app.client import Api, ApiError
from app.settings import Settings
from core.spec import SpecError, read_mapping

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
token_app = typer.Typer(no_args_is_help=True, help="Make, list and revoke tokens.")
db_app = typer.Typer(no_args_is_help=True, help="The database.")
app.add_typer(token_app, name="token")
app.add_typer(db_app, name="db")
out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True, highlight=False)

JobId = Annotated[str, typer.Argument(metavar="ID", help="A job's id.")]
SpecFile = Annotated[str, typer.Argument(metavar="FILE", help="A job specification in JSON or YAML, or - for stdin.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Overrides = Annotated[list[str], typer.Option("--set", metavar="PATH=VALUE", help="Override, e.g. training.epochs=3.")]
Follow = Annotated[bool, typer.Option("-f", "--follow", help="Go on until the job has ended.")]


def fail(message: str, code: int = 1) -> NoReturn:
    """One line on standard error, and out."""
    err.print(f"Error: {message}", markup=False)
    raise typer.Exit(code)


@contextmanager
def connected() -> Iterator[Api]:
    """The API; what it refuses is one line and exit 1, or 2 where the request was wrong in itself."""
    try:
        yield Api(settings())
    except ApiError as error:
        fail(str(error), 2 if error.status in (400, 404, 422) else 1)


def settings() -> Settings:
    """The settings; raises with exit 2 where the environment has a wrong one."""
    try:
        return Settings()
    except ValidationError as error:
        said = "; ".join(f"MCN_{str(entry['loc'][0]).upper()}: {entry['msg']}" for entry in error.errors())
        fail(said, 2)


def print_json(value: Any) -> None:
    """JSON as it is, whatever the terminal."""
    print(json.dumps(value, indent=1))


@app.command()
def up(stop_jobs: Annotated[bool, typer.Option(help="On the way out, pause what still trains.")] = False) -> None:
    """Run the service here: API and worker, until Ctrl-C. What trains goes on training."""
    from app.up import CannotStart, running, wait_for_signal

    configured = settings()
    try:
        with running(configured, say=lambda line: err.print(line, markup=False)) as parts:
            out.print(f"MCN Fusion is up at [bold]{configured.api_url}[/bold]  (docs at {configured.api_url}/docs)")
            token = escape(str(configured.data_dir / "admin-token"))
            out.print(f"Token: {token}, which `mcn` finds by itself. Ctrl-C ends the service.")
            wait_for_signal(parts)
            _say_what_runs(Api(configured), pause=stop_jobs)
    except CannotStart as error:
        fail(str(error))
    except ApiError as error:
        err.print(str(error), markup=False)


def _say_what_runs(api: Api, *, pause: bool) -> None:
    jobs = api.get("/jobs", state=["starting", "running"], limit=200)["items"]
    if not jobs:
        out.print("Nothing trains. Bye.")
        return
    if not pause:
        named = ", ".join(job["id"] for job in jobs)
        out.print(f"{len(jobs)} jobs go on training without the service: {named}. `mcn up` finds them again.")
        return
    import time

    for job in jobs:
        if job["state"] == "running":
            api.post(f"/jobs/{job['id']}/pause")
    out.print(f"Pausing {len(jobs)} jobs ...")
    deadline = time.monotonic() + 90
    while api.get("/jobs", state="pausing")["items"] and time.monotonic() < deadline:
        time.sleep(0.3)


@app.command()
def demo() -> None:
    """Train four experts and their fusion on real digits, through the API, and show what came out."""
    from app import demo as demonstration
    from app.up import CannotStart, running, wait_for_signal

    configured = settings()
    try:
        with running(configured, say=lambda line: err.print(line, markup=False)) as parts, connected() as api:
            out.print(f"MCN Fusion is up at [bold]{configured.api_url}[/bold]")
            if not demonstration.run(api, configured, out):
                raise typer.Exit(1)
            out.print(
                f"API and docs: {configured.api_url}/docs  (token: {escape(str(configured.data_dir / 'admin-token'))})"
            )
            if sys.stdout.isatty():
                out.print("The service stays up until Ctrl-C; try `mcn jobs` in another terminal.")
                wait_for_signal(parts)
    except CannotStart as error:
        fail(str(error))


@app.command()
def submit(
    file: SpecFile,
    overrides: Overrides = [],  # noqa: B006
    follow: Follow = False,
    key: Annotated[str | None, typer.Option(help="Idempotency key: the same key makes one job.")] = None,
    as_json: AsJson = False,
) -> None:
    """Submit a job."""
    _submit(_read(file, overrides), follow=follow, key=key, as_json=as_json)


@app.command()
def train(
    fusion_type: Annotated[
        str, typer.Option(help="multiplicative, TransformerBase, concatenation, ..")
    ] = "multiplicative",
    num_experts: Annotated[int, typer.Option(help="Experts.")] = 4,
    epochs: Annotated[int, typer.Option(help="Epochs.")] = 100,
    batch_size: Annotated[int, typer.Option(help="Images a batch.")] = 128,
    input_dim: Annotated[
        int | None, typer.Option(help="Fused dimension. [default: the largest of the experts']")
    ] = None,
    hidden_dim: Annotated[
        int | None, typer.Option(help="Hidden dimension of the fusion. [default: the fused one]")
    ] = None,
    dataset: Annotated[
        str, typer.Option(help="digits, cifar10, cifar100, imagefolder:<path>, npz:<path>")
    ] = "cifar100",
    arch: Annotated[str, typer.Option(help="Architecture of the experts.")] = "resnet18",
    executor: Annotated[str, typer.Option(help="local or slurm.")] = "local",
    name: Annotated[str, typer.Option(help="A name for the job.")] = "",
    overrides: Overrides = [],  # noqa: B006
    follow: Follow = False,
    as_json: AsJson = False,
) -> None:
    """Submit a fusion job by flags."""
    spec: dict[str, Any] = {
        "kind": "fusion",
        "name": name,
        "experts": [{"arch": arch}],
        "num_experts": num_experts,
        "fusion": {"type": fusion_type, "hidden_dim": hidden_dim},
        "input_dim": input_dim,
        "dataset": {"name": dataset},
        "training": {"epochs": epochs, "batch_size": batch_size},
        "resources": {"executor": executor},
    }
    _submit(_overridden(spec, overrides), follow=follow, key=None, as_json=as_json)


def _read(file: str, overrides: list[str]) -> dict[str, Any]:
    try:
        text = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return _overridden(read_mapping(text), overrides)
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror}", 2)
    except SpecError as error:
        fail(f"{file}: {error}", 2)


def _overridden(spec: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    from core.spec.load import apply_override

    try:
        for override in overrides:
            apply_override(spec, override)
    except SpecError as error:
        fail(str(error), 2)
    return spec


def _submit(spec: dict[str, Any], *, follow: bool, key: str | None, as_json: bool) -> None:
    with connected() as api:
        headers = {"Idempotency-Key": key} if key else {}
        try:
            body = json.dumps(spec, allow_nan=False)
        except (TypeError, ValueError) as error:
            fail(f"the specification is not plain JSON data: {error}", 2)
        job = api.post("/jobs", body.encode(), headers=headers)
        if as_json:
            print_json(job)
        else:
            out.print(f"{job['id']}  {job['state']}", highlight=False)
        if follow:
            _watch(api, job["id"])


@app.command()
def plan(file: SpecFile, overrides: Overrides = [], as_json: AsJson = False) -> None:  # noqa: B006
    """Say what a job will be: dimensions, parameters, learning rates, steps. Needs no service."""
    words = [sys.executable, "-m", "core", "plan", file, *(word for value in overrides for word in ("--set", value))]
    roots = [word for root in settings().roots for word in ("--data-root", str(root))]
    raise typer.Exit(subprocess.run([*words, *roots, *(["--json"] if as_json else [])]).returncode)


@app.command()
def jobs(
    state: Annotated[list[str] | None, typer.Option(help="Only these states.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only this tag.")] = None,
    q: Annotated[str | None, typer.Option("-q", help="Only names with this in them.")] = None,
    limit: Annotated[int, typer.Option(help="At most.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    with connected() as api:
        page = api.get("/jobs", state=state, tag=tag, q=q, limit=limit)
    print_json(page) if as_json else out.print(show.jobs_table(page["items"]))


@app.command("show")
def show_job(job_id: JobId, as_json: AsJson = False) -> None:
    """Show a job."""
    with connected() as api:
        job = api.get(f"/jobs/{job_id}")
    print_json(job) if as_json else out.print(show.job_table(job))


@app.command()
def watch(job_ids: Annotated[list[str], typer.Argument(metavar="ID...")]) -> None:
    """Watch jobs until they have ended; exit 1 if one did not succeed."""
    with connected() as api:
        _watch(api, *job_ids)


def _watch(api: Api, *job_ids: str) -> None:
    ended = show.watch(api, list(job_ids), out)
    for job in ended:
        if job["state"] != "succeeded":
            err.print(f"{job['id']} has {job['state']}: {job['message'] or job['reason'] or ''}", markup=False)
    if any(job["state"] != "succeeded" for job in ended):
        raise typer.Exit(1)


@app.command()
def logs(job_id: JobId, follow: Follow = False, tail: Annotated[int, typer.Option(help="Lines.")] = 200) -> None:
    """Print the output of a job's newest attempt."""
    with connected() as api, api.stream(f"/jobs/{job_id}/logs", tail=tail, follow=follow) as answer:
        for text in answer.iter_text():
            print(text, end="", flush=True)


def _changing(verb: str, help: str) -> None:
    @app.command(verb, help=help)
    def change(job_ids: Annotated[list[str], typer.Argument(metavar="ID...")], as_json: AsJson = False) -> None:
        with connected() as api:
            for job_id in job_ids:
                job = api.post(f"/jobs/{job_id}/{verb}")
                print_json(job) if as_json else out.print(f"{job['id']}  {job['state']}", highlight=False)


_changing("cancel", "End jobs; what they have trained so far stays.")
_changing("pause", "Have jobs write a checkpoint and free their devices.")
_changing("resume", "Go on with paused jobs.")
_changing("retry", "Queue failed or cancelled jobs again; they go on from their checkpoints.")


@app.command()
def delete(job_ids: Annotated[list[str], typer.Argument(metavar="ID...")], as_json: AsJson = False) -> None:
    """Delete jobs that have ended, with all their files."""
    with connected() as api:
        for job_id in job_ids:
            gone = api.delete(f"/jobs/{job_id}")
            print_json(gone) if as_json else out.print(
                f"{gone['id']}  freed {show.size(gone['bytes_freed'])}", highlight=False
            )


@app.command()
def components(job_id: JobId, as_json: AsJson = False) -> None:
    """List what there is to download of a job."""
    with connected() as api:
        page = api.get(f"/jobs/{job_id}/components")
    print_json(page) if as_json else out.print(show.components_table(page["items"]))


@app.command()
def download(
    job_id: JobId,
    name: Annotated[str, typer.Argument(metavar="NAME", help="expert_0, .., fusion, head or complete.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="File or folder.")] = Path("."),
    format: Annotated[str, typer.Option(help="pth or safetensors.")] = "pth",
) -> None:
    """Download a component; broken off, the same command goes on."""
    from app.download import download as fetch

    if not output.is_dir() and not output.parent.is_dir():
        fail(f"there is no folder {output.parent}", 2)
    with connected() as api:
        try:
            file = fetch(api, f"/jobs/{job_id}/components/{name}", output, format=format)
        except OSError as error:
            fail(f"{output} cannot be written: {error.strerror}")
    out.print(f"{file}  {show.size(file.stat().st_size)}, verified", highlight=False, markup=False)


@token_app.command("create")
def token_create(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    role: Annotated[str, typer.Option(help="viewer, member or admin.")] = "member",
    owner: Annotated[str | None, typer.Option(help="Whose it is. [default: yours]")] = None,
    expires_at: Annotated[str | None, typer.Option(help="When it expires, such as 2030-01-31T00:00:00Z.")] = None,
) -> None:
    """Make a token; it is shown this once."""
    asked = {"name": name, "role": role, "owner": owner, "expires_at": expires_at}
    with connected() as api:
        made = api.post("/tokens", {key: value for key, value in asked.items() if value is not None})
    print(made["token"])


@token_app.command("list")
def token_list(as_json: AsJson = False) -> None:
    """List tokens, without their secrets."""
    with connected() as api:
        page = api.get("/tokens")
    if as_json:
        return print_json(page)
    table = Table("id", "name", "owner", "role", "expires", box=None, pad_edge=False)
    for row in page["items"]:
        table.add_row(row["id"], row["name"], row["owner"], row["role"], row["expires_at"] or "never")
    out.print(table)


@token_app.command("revoke")
def token_revoke(token_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Revoke a token: it is refused from now on."""
    with connected() as api:
        api.delete(f"/tokens/{token_id}")
    out.print(f"{token_id} is revoked.", highlight=False)


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
    from app.doctor import examine

    findings = list(examine(settings()))
    if as_json:
        print_json([finding.__dict__ for finding in findings])
    else:
        for finding in findings:
            mark = "[green]ok[/green]" if finding.well else "[red]no[/red]" if finding.needed else "--"
            out.print(f"{mark}  {finding.what}: {escape(finding.seen)}", highlight=False)
    raise typer.Exit(0 if all(finding.well or not finding.needed for finding in findings) else 1)


if __name__ == "__main__":
    app(prog_name="mcn")
