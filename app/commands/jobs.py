"""Commands on jobs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from app import show, show_sweeps
from app.client import ENDED, Api, ApiError
from app.commands.terminal import AsJson, an_id, connected, err, fail, ids, out, print_json, settings
from core.spec import SpecError, read_mapping
from core.spec.load import apply_override

app = typer.Typer()

JobId = Annotated[str, typer.Argument(metavar="ID", help="A job's id.", callback=an_id)]
JobIds = Annotated[list[str], typer.Argument(metavar="ID...", callback=ids)]
SpecFile = Annotated[str, typer.Argument(metavar="FILE", help="A job specification in JSON or YAML, or - for stdin.")]
Overrides = Annotated[list[str], typer.Option("--set", metavar="PATH=VALUE", help="Override, e.g. training.epochs=3.")]
Follow = Annotated[bool, typer.Option("-f", "--follow", help="Go on until the job has ended.")]


@app.command()
def submit(
    file: SpecFile,
    overrides: Overrides = [],  # noqa: B006
    follow: Follow = False,
    key: Annotated[str | None, typer.Option(help="Idempotency key: the same key makes one job.")] = None,
    dry_run: Annotated[bool, typer.Option(help="Check it and print it as resolved; submit nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Submit a job."""
    if dry_run:
        with connected() as api:
            print_json(api.post("/jobs?dry_run=true", body_of(read_file(file, overrides))))
        return
    _submit(read_file(file, overrides), follow=follow, key=key, as_json=as_json)


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


Override = Callable[[dict[str, Any], str], None]


def read_file(file: str, overrides: list[str], override: Override = apply_override) -> dict[str, Any]:
    """What a JSON or YAML file holds, or standard input, with overrides; exit 2 for what cannot be."""
    try:
        text = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return _overridden(read_mapping(text), overrides, override)
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror}", 2)
    except SpecError as error:
        fail(f"{file}: {error}", 2)


def _overridden(spec: dict[str, Any], overrides: list[str], override: Override = apply_override) -> dict[str, Any]:
    try:
        for given in overrides:
            override(spec, given)
    except SpecError as error:
        fail(str(error), 2)
    return spec


def body_of(spec: dict[str, Any]) -> bytes:
    """What is sent; exit 2 for what JSON cannot carry."""
    try:
        return json.dumps(spec, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        fail(f"the specification is not plain JSON data: {error}", 2)


def _submit(spec: dict[str, Any], *, follow: bool, key: str | None, as_json: bool) -> None:
    with connected() as api:
        headers = {"Idempotency-Key": key} if key else {}
        job = api.post("/jobs", body_of(spec), headers=headers)
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
    sweep: Annotated[str | None, typer.Option(help="Only this sweep.")] = None,
    q: Annotated[str | None, typer.Option("-q", help="Only names with this in them.")] = None,
    limit: Annotated[int, typer.Option(help="At most.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    with connected() as api:
        page = api.get("/jobs", state=state, tag=tag, sweep=sweep, q=q, limit=limit)
    print_json(page) if as_json else out.print(show.jobs_table(page["items"]))


@app.command("show")
def show_job(job_id: JobId, as_json: AsJson = False) -> None:
    """Show a job or a sweep."""
    with connected() as api:
        found = api.get(_path(job_id))
    table = show_sweeps.sweep_table if show_sweeps.is_sweep(job_id) else show.job_table
    print_json(found) if as_json else out.print(table(found))


def _path(its_id: str) -> str:
    return f"/{'sweeps' if show_sweeps.is_sweep(its_id) else 'jobs'}/{its_id}"


@app.command()
def watch(job_ids: Annotated[list[str], typer.Argument(metavar="ID...", callback=ids)]) -> None:
    """Watch jobs, or a sweep, until they have ended; exit 1 if one did not succeed."""
    with connected() as api:
        sweeps = [job_id for job_id in job_ids if show_sweeps.is_sweep(job_id)]
        good = [show_sweeps.watch(api, sweep_id, out, err) for sweep_id in sweeps]
        if len(sweeps) < len(job_ids):
            _watch(api, *(job_id for job_id in job_ids if job_id not in sweeps))
        if not all(good):
            raise typer.Exit(1)


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
    with connected() as api:
        try:
            with api.stream(f"/jobs/{job_id}/logs", tail=tail, follow=follow) as answer:
                for text in answer.iter_text():
                    print(text, end="", flush=True)
            return
        except ApiError as error:
            if error.status or not follow:
                raise
        _follow_on(api, job_id)


def _follow_on(api: Api, job_id: str) -> None:
    """After a connection that broke: the log from now on, once the API is back."""
    job = show.patiently(lambda: api.get(f"/jobs/{job_id}"))
    while job["state"] not in ENDED:
        err.print("The connection broke; the log goes on from here.")
        with suppress(ApiError), api.stream(f"/jobs/{job_id}/logs", tail=20, follow=True) as answer:
            for line in answer.iter_lines():
                print(line, flush=True)
        job = show.patiently(lambda: api.get(f"/jobs/{job_id}"))


def _changing(verb: str, help: str, *, sweeps: bool = False) -> None:
    @app.command(verb, help=help)
    def change(
        job_ids: Annotated[list[str], typer.Argument(metavar="ID...", callback=ids)], as_json: AsJson = False
    ) -> None:
        with connected() as api:
            for job_id in job_ids:
                changed = api.post(f"{_path(job_id) if sweeps else f'/jobs/{job_id}'}/{verb}")
                state = changed["state"] if "state" in changed else show_sweeps.line(changed)
                print_json(changed) if as_json else out.print(f"{changed['id']}  {state}", highlight=False)


_changing("cancel", "End jobs, or all that sweeps have made; what they have trained so far stays.", sweeps=True)
_changing("pause", "Have jobs write a checkpoint and free their devices.")
_changing("resume", "Go on with paused jobs.")
_changing(
    "retry", "Queue failed or cancelled jobs again, or those of sweeps; they go on from their checkpoints.", sweeps=True
)


@app.command()
def delete(
    job_ids: Annotated[list[str], typer.Argument(metavar="ID...", callback=ids)], as_json: AsJson = False
) -> None:
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
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="expert_0, .., fusion, head or complete.", callback=an_id)
    ],
    output: Annotated[str, typer.Option("-o", "--output", help="File, or folder/.")] = ".",
    format: Annotated[str, typer.Option(help="pth or safetensors.")] = "pth",
) -> None:
    """Download a component; broken off, the same command goes on."""
    from app.download import download as fetch

    folder = Path(output)
    if output.endswith("/") or folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
    elif not folder.parent.is_dir():
        fail(f"there is no folder {folder.parent}", 2)
    with connected() as api:
        try:
            file = fetch(api, f"/jobs/{job_id}/components/{name}", folder, format=format)
        except OSError as error:
            fail(f"{output} cannot be written: {error.strerror}")
    out.print(f"{file}  {show.size(file.stat().st_size)}, verified", highlight=False, markup=False)
