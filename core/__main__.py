"""`python -m core`: plan, train, evaluate and export models without the service."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from core.run.rundir import RunDir
from core.spec import EvaluateJob, JobSpec, SpecError, parse_text

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
out = Console(soft_wrap=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)

SpecFile = Annotated[str, typer.Argument(metavar="SPEC", help="A job specification in JSON or YAML, or - for stdin.")]
Overrides = Annotated[list[str], typer.Option("--set", metavar="PATH=VALUE", help="Override, e.g. training.epochs=3.")]
DataRoots = Annotated[
    list[Path],
    typer.Option("--data-root", envvar="MCN_DATA_ROOTS", help="Folder with datasets. [default: data, .]"),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N. [default: a GPU if there is one]")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def plan(spec: SpecFile, overrides: Overrides = [], data_root: DataRoots = [], as_json: AsJson = False) -> None:  # noqa: B006
    """Show the plan of a job: dimensions, parameters, learning rates, steps, sizes. Trains nothing."""
    job = _read(spec, overrides)
    with _one_line_errors():
        from core.model.assemble import load_sources
        from core.plan.data_size import find_data_size
        from core.plan.plan import make_plan
        from core.reporting.tables import plan_table

        planned = make_plan(job, find_data_size(job, _roots(data_root)), load_sources(job)).to_json()
    if as_json:
        print(json.dumps(planned, indent=1))
    else:
        out.print(plan_table(planned))


@app.command()
def train(
    spec: SpecFile,
    run_dir: Annotated[Path, typer.Option(help="Folder of the run. A run that began there resumes.")],
    overrides: Overrides = [],  # noqa: B006
    data_root: DataRoots = [],  # noqa: B006
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Train a job, or resume it. Ctrl-C and SIGTERM stop it with a checkpoint; the same command resumes."""
    job = _read(spec, overrides)
    with _one_line_errors():
        result = _run(job, run_dir, _roots(data_root), device)
    if as_json:
        print(json.dumps(result.__dict__, indent=1))
    elif _main_process() and result.state == "succeeded":
        _show(result)
        out.print(f"Components: {RunDir(run_dir).components}", soft_wrap=True)


@app.command()
def evaluate(
    spec: SpecFile,
    run_dir: Annotated[Path, typer.Option(help="Folder for the result.")],
    overrides: Overrides = [],  # noqa: B006
    data_root: DataRoots = [],  # noqa: B006
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Measure existing components on the test set, by a specification of kind evaluate."""
    job = _read(spec, overrides)
    if not isinstance(job, EvaluateJob):
        _fail(f"kind is {job.kind}; evaluate needs a specification of kind evaluate: use train for the others")
    with _one_line_errors():
        result = _run(job, run_dir, _roots(data_root), device)
    if as_json:
        print(json.dumps(result.__dict__, indent=1))
    else:
        _show(result)


@app.command()
def export(
    run_dir: Annotated[Path, typer.Argument(help="A run directory.")],
    name: Annotated[str, typer.Argument(help="expert_0, expert_1, .., fusion, head or complete.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="[default: its usual file name]")] = None,
    format: Annotated[
        str | None, typer.Option(help="pth or safetensors. [default: as the output ends, or pth]")
    ] = None,
    experts: Annotated[str | None, typer.Option(help="Of complete: only these experts, such as 0,2.")] = None,
) -> None:
    """Export a verified copy of a component from a run."""
    with _one_line_errors():
        from core.components import FORMATS, load_component, read_component_manifest, write_component
        from core.run.partial_model import describe_accuracy, parse_experts, partial_file_name

        ending = output.suffix.removeprefix(".") if output and output.suffix.removeprefix(".") in FORMATS else None
        format = format or ending or "pth"
        if format not in FORMATS:
            raise ValueError(f"format is {format}; choose {' or '.join(FORMATS)}")
        if ending not in (None, format):
            raise ValueError(f"{output} ends in .{ending}, but the format is {format}: change one of them")
        if output and not output.parent.is_dir():
            raise ValueError(f"the folder {output.parent} does not exist: create it first")
        folder = RunDir(run_dir).components
        names = sorted(file.stem for file in folder.glob("*.json"))
        manifest = read_component_manifest(folder, name) if name in names else None
        if manifest is None:
            raise ValueError(f"{run_dir} has no component {name}; it has {', '.join(names) or 'none yet'}")
        component, usual_name = (
            load_component(folder / manifest["files"]["safetensors"]["file"]),
            manifest["files"][format]["name"],
        )
        if experts is not None:
            chosen = parse_experts(experts)
            component, usual_name = component.with_experts(chosen), partial_file_name(usual_name, chosen)
        target = output or Path(usual_name)
        write_component(component, target)
    print(target)
    if experts is not None:
        # Standard output has the name of the file alone, for scripts.
        err.print(describe_accuracy(component.config))


def _read(spec: str, overrides: list[str]) -> JobSpec:
    try:
        text = sys.stdin.buffer.read() if spec == "-" else Path(spec).read_bytes()
    except OSError as error:
        _fail(f"{spec} cannot be read: {error.strerror}")
    try:
        return parse_text(text, overrides)
    except SpecError as error:
        _fail(f"{spec}: {error}")


def _run(job: JobSpec, run_dir: Path, data_roots: list[Path], device: str | None) -> Any:
    from core.run.lock import run_lock

    if run_dir.exists() and not run_dir.is_dir():
        raise ValueError(f"{run_dir} is a file: give a folder as the run directory")
    if run_dir == Path():
        raise ValueError("a run needs a folder of its own: give --run-dir, for example runs/first")
    with run_lock(run_dir) if _main_process() else nullcontext():
        return _run_locked(job, run_dir, data_roots, device)


def _run_locked(job: JobSpec, run_dir: Path, data_roots: list[Path], device: str | None) -> Any:
    from core.run.code import import_all
    from core.run.environment import software

    import_all()
    # The run is identified by the code that has been imported, whatever is on the disk by then.
    software()
    from core.reporting.console import ConsoleReporter
    from core.reporting.event_log import EventLog
    from core.reporting.protocol import Fanout, NullReporter
    from core.train.evaluate_job import evaluate_job
    from core.train.fit import fit
    from core.train.non_finite import NonFiniteLossError

    reporter: Any = NullReporter()
    if _main_process():
        reporters: list[Any] = [EventLog(RunDir(run_dir).events), ConsoleReporter(err)]
        if job.tracking.wandb.mode != "disabled":
            from core.reporting.wandb import WandbReporter

            reporters.append(WandbReporter(job, run_dir, on_failure=lambda message: err.print(f"warning: {message}")))
        reporter = Fanout(reporters)
    try:
        with closing(reporter), _report_failure(reporter):
            shared: dict[str, Any] = {
                "reporter": reporter,
                "data_roots": data_roots,
                "device": device,
                "content_cache": _cache_folder(),
            }
            if isinstance(job, EvaluateJob):
                return evaluate_job(job, run_dir, **shared)
            with _stop_signals() as stopped:
                result = fit(job, run_dir, should_stop=lambda: bool(stopped), **shared)
    except NonFiniteLossError as error:
        _fail(str(error), code=1)
    if result.state == "stopped":
        err.print(f"Stopped at step {result.step} with a checkpoint. The same command resumes from there.")
        raise typer.Exit(128 + stopped[0])
    return result


@contextmanager
def _report_failure(reporter: Any) -> Iterator[None]:
    """Makes the failure of a run the last event of its log."""
    try:
        yield
    except Exception as error:
        with suppress(OSError):
            reporter.emit("state", {"state": "failed", "message": str(error)})
        raise


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collects SIGTERM and SIGINT so that training stops cleanly; the second of a kind ends the process at once."""
    received: list[int] = []

    def on_signal(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)
        err.print("Stopping after this step and its checkpoint ...")

    previous = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Prints a user's mistake as one line and exits with 2; a defect of the program keeps its traceback."""
    try:
        yield
    except ValueError as error:
        _fail(" ".join(str(error).split()))
    except OSError as error:
        _fail(f"{error}. Once this is fixed, the same command resumes")
    except RuntimeError as error:
        from core.run.durable import DamagedFileError

        if not isinstance(error, DamagedFileError):
            raise
        _fail(str(error))


def _fail(message: str, code: int = 2) -> NoReturn:
    err.print(f"Error: {message}", markup=False)
    raise typer.Exit(code)


def _show(result: Any) -> None:
    from core.reporting.tables import metrics_table

    out.print(metrics_table(result.metrics, result.absent))


def _roots(options: list[Path]) -> list[Path]:
    return options or [Path("data"), Path()]


def _cache_folder() -> Path | None:
    """Where digests of datasets are kept; they can be deleted at any time. None for a user without a home folder."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mcn-fusion" / "content"
    except RuntimeError:
        return None


def _main_process() -> bool:
    return os.environ.get("RANK", "0") == "0"


if __name__ == "__main__":
    app(prog_name="python -m core")
