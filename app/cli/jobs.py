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

from app.cli import sweep_tables as show_sweeps
from app.cli import tables as show
from app.cli.client import TERMINAL_STATES, Api, ApiError
from app.cli.terminal import AsJson, an_id, connected, err, fail, ids, out, print_json, settings
from core.spec import SpecError, read_mapping
from core.spec.load import apply_override

app = typer.Typer()


def a_job(value: str) -> str:
    """A job's id; ends with exit 2 for what cannot be one, or is a sweep's."""
    if show_sweeps.is_sweep(an_id(value)):
        fail(f"{value} is a sweep, and this takes jobs: `mcn jobs --sweep {value}` lists its jobs", 2)
    return value


def some_jobs(values: list[str]) -> list[str]:
    """The same of several."""
    return [a_job(value) for value in values]


AnyId = Annotated[str, typer.Argument(metavar="ID", help="A job's or sweep's id.", callback=an_id)]
AnyIds = Annotated[list[str], typer.Argument(metavar="ID...", callback=ids)]
JobId = Annotated[str, typer.Argument(metavar="ID", help="A job's id.", callback=a_job)]
JobIds = Annotated[list[str], typer.Argument(metavar="ID...", callback=some_jobs)]
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
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing but the id.")] = False,
    as_json: AsJson = False,
) -> None:
    """Submit a job."""
    spec = read_file(file, overrides)
    if "base" in spec and "kind" not in spec:
        fail(f"{file} is a sweep: `mcn sweep` takes it", 2)
    if dry_run:
        with connected() as api:
            print_json(api.post("/jobs?dry_run=true", body_of(spec)))
        return
    _submit(spec, follow=follow, key=key, as_json=as_json, quiet=quiet)


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
    _submit(overridden(spec, overrides), follow=follow, key=None, as_json=as_json)


Override = Callable[[dict[str, Any], str], None]


def read_file(file: str, overrides: list[str], override: Override = apply_override) -> dict[str, Any]:
    """What a JSON or YAML file holds, or standard input, with overrides; exit 2 for what cannot be."""
    try:
        text = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return overridden(read_mapping(text), overrides, override)
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror}", 2)
    except SpecError as error:
        fail(f"{file}: {error}", 2)


def overridden(spec: dict[str, Any], overrides: list[str], override: Override = apply_override) -> dict[str, Any]:
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


def _submit(spec: dict[str, Any], *, follow: bool, key: str | None, as_json: bool, quiet: bool = False) -> None:
    with connected() as api:
        headers = {"Idempotency-Key": key} if key else {}
        job = api.post("/jobs", body_of(spec), headers=headers)
        if as_json:
            print_json(job)
        else:
            out.print(job["id"] if quiet else f"{job['id']}  {job['state']}", highlight=False)
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
def show_job(job_id: AnyId, as_json: AsJson = False) -> None:
    """Show a job or a sweep."""
    with connected() as api:
        found = api.get(path_of(job_id))
        if as_json:
            print_json(found)
        elif show_sweeps.is_sweep(job_id):
            out.print(show_sweeps.sweep_table(found))
        else:
            out.print(show.job_table(found, api.get(f"/jobs/{job_id}/attempts")["items"]))


def path_of(its_id: str) -> str:
    return f"/{'sweeps' if show_sweeps.is_sweep(its_id) else 'jobs'}/{its_id}"


@app.command()
def watch(job_ids: AnyIds) -> None:
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
def logs(
    job_id: JobId,
    follow: Follow = False,
    tail: Annotated[int, typer.Option(help="Lines.")] = 200,
    attempt: Annotated[int | None, typer.Option(help="An earlier one. [default: the newest]")] = None,
) -> None:
    """Print the output of a job's newest attempt."""
    which: dict[str, Any] = {} if attempt is None else {"attempt": attempt}
    with connected() as api:
        try:
            silent = True
            with api.stream(f"/jobs/{job_id}/logs", tail=tail, follow=follow, **which) as answer:
                for text in answer.iter_text():
                    silent = silent and not text
                    print(text, end="", flush=True)
            if silent:
                number = attempt or api.get(f"/jobs/{job_id}")["attempt"]
                before = f"; `--attempt {number - 1}` shows the one before" if number > 1 else ""
                err.print(f"Attempt {number} has written nothing{before}." if number else "It was not started yet.")
            return
        except ApiError as error:
            if error.status or not follow:
                raise
        _follow_on(api, job_id)


def _follow_on(api: Api, job_id: str) -> None:
    """After a connection that broke: the log from now on, once the API is back."""
    job = show.patiently(lambda: api.get(f"/jobs/{job_id}"))
    while job["state"] not in TERMINAL_STATES:
        err.print("The connection broke; the log goes on from here.")
        with suppress(ApiError), api.stream(f"/jobs/{job_id}/logs", tail=20, follow=True) as answer:
            for line in answer.iter_lines():
                print(line, flush=True)
        job = show.patiently(lambda: api.get(f"/jobs/{job_id}"))


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
    from app.cli.download import download as fetch

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
