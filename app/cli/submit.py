"""Commands that submit or plan a job."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from typing import Annotated, Any

import typer

from app.cli.arguments import AsJson, key_header
from app.cli.client import Api, ApiError
from app.cli.spec_files import Overrides, SpecFile, encode_spec, read_spec_file, with_overrides
from app.cli.terminal import connected, err, fail, out, print_json, settings
from app.cli.watch import exit_unless_succeeded, watch_jobs, watch_to_the_end

Follow = Annotated[bool, typer.Option("-f", "--follow", help="Watch the job until it ends.")]


def submit(
    file: SpecFile,
    overrides: Overrides = [],  # noqa: B006
    follow: Follow = False,
    key: Annotated[str | None, typer.Option(help="Idempotency key: a repeated key returns the same job.")] = None,
    dry_run: Annotated[bool, typer.Option(help="Validate, print the resolved job, submit nothing.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print only the id.")] = False,
    as_json: AsJson = False,
) -> None:
    """Submit a job from a specification, or from what `mcn show --json` prints of a job."""
    spec = with_overrides(_spec_of(read_spec_file(file, [])), overrides)
    if "base" in spec and "kind" not in spec:
        fail(f"{file} is the specification of a sweep: submit it with `mcn sweep`", 2)
    if dry_run:
        with connected() as api:
            print_json(api.post("/jobs?dry_run=true", encode_spec(spec)))
        return
    _submit(spec, follow=follow, key=key, as_json=as_json, quiet=quiet)


def train(
    fusion_type: Annotated[
        str, typer.Option(help="Fusion type: multiplicative, TransformerBase, concatenation, ..")
    ] = "multiplicative",
    num_experts: Annotated[int, typer.Option(help="Number of experts.")] = 4,
    epochs: Annotated[int, typer.Option(help="Number of epochs.")] = 100,
    batch_size: Annotated[int, typer.Option(help="Batch size.")] = 128,
    input_dim: Annotated[
        int | None, typer.Option(help="Common feature dimension.", show_default="the largest of the experts")
    ] = None,
    hidden_dim: Annotated[
        int | None, typer.Option(help="Hidden dimension of the fusion module.", show_default="the input dimension")
    ] = None,
    dataset: Annotated[
        str, typer.Option(help="digits, cifar10, cifar100, imagefolder:<path> or npz:<path>.")
    ] = "cifar100",
    arch: Annotated[str, typer.Option(help="Architecture of the experts.")] = "resnet18",
    executor: Annotated[str, typer.Option(help="Where the job runs: local or slurm.")] = "local",
    name: Annotated[str, typer.Option(help="Name of the job.")] = "",
    controls: Annotated[
        bool, typer.Option("--controls", help="Also train what fusion has to beat: `mcn report` compares them.")
    ] = False,
    overrides: Overrides = [],  # noqa: B006
    follow: Follow = False,
    as_json: AsJson = False,
) -> None:
    """Submit a fusion job from flags."""
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
        "controls": controls,
    }
    _submit(with_overrides(spec, overrides), follow=follow, key=None, as_json=as_json)


def _spec_of(data: dict[str, Any]) -> dict[str, Any]:
    """The specification of a job that was shown as JSON; any other mapping is one itself."""
    shown = data.get("spec")
    return shown if "id" in data and isinstance(shown, dict) else data


def _submit(spec: dict[str, Any], *, follow: bool, key: str | None, as_json: bool, quiet: bool = False) -> None:
    with connected() as api:
        job = api.post("/jobs", encode_spec(spec), headers=key_header(key))
        if not as_json:
            out.print(job["id"] if quiet else f"{job['id']}  {job['state']}")
        if not quiet:
            _print_warnings(api, spec)
        if not as_json:
            if follow:
                watch_to_the_end(api, [job["id"]])
            return
        ended = watch_jobs(api, [job["id"]], err) if follow else []
        print_json(ended[0] if ended else job)
        exit_unless_succeeded(ended)


def _print_warnings(api: Api, spec: dict[str, Any]) -> None:
    # The job has been submitted, whatever comes of this.
    with suppress(ApiError):
        for warning in api.post("/jobs?dry_run=true", encode_spec(spec))["outline"]["warnings"]:
            err.print(f"warning: {warning}")


def plan(file: SpecFile, overrides: Overrides = [], as_json: AsJson = False) -> None:  # noqa: B006
    """Show dimensions, parameters, learning rates and steps of a job. Needs no service."""
    options = [option for override in overrides for option in ("--set", override)]
    options += [option for root in settings().roots for option in ("--data-root", str(root))]
    command = [sys.executable, "-m", "core", "plan", file, *options, *(["--json"] if as_json else [])]
    raise typer.Exit(subprocess.run(command).returncode)
