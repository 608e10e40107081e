"""The training process: one attempt of one job, with nothing but its run directory.

`python -m worker.child RUN_DIR ATTEMPT`. SIGTERM means: write a checkpoint and stop.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

from core.lock import InUseError, run_lock
from worker.rundir import RunDir, read

LOCK_WAIT_S = 120.0
RESERVE_BYTES = 1 << 16


def main() -> int:
    """Runs the attempt; the exit code says nothing that `outcome.json` does not say better."""
    run = RunDir(Path(sys.argv[1]), int(sys.argv[2]))
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stopped.append(number))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Two processes may have been started for one attempt, or this one so late that it was given up: the first one runs.
    if not run.take({"pid": os.getpid(), "started": _process_start(), "host": socket.gethostname()}):
        print("another process has taken this attempt")
        return 0
    try:
        run.reserve.write_bytes(bytes(RESERVE_BYTES))
        with run_lock(run.path, wait_s=LOCK_WAIT_S, give_up=lambda: bool(stopped)):
            outcome = _train(run, stopped)
    except BaseException as error:
        # Told to stop while it still waited for the run directory, it has done nothing wrong.
        waited = isinstance(error, InUseError) and bool(stopped)
        outcome = {"outcome": "stopped"} if waited else failure(error)
        if outcome.get("reason") == "code_error":
            traceback.print_exc()
        elif not waited:
            print(f"Error: {outcome['message']}", file=sys.stderr)
    # The device may be full: what was kept for this moment makes room for the last word.
    run.reserve.unlink(missing_ok=True)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    run.write(run.outcome, outcome)
    # Whatever threads are still there have nothing to add.
    os._exit(0 if outcome["outcome"] in ("succeeded", "stopped") else 1)


def _train(run: RunDir, stopped: list[int]) -> dict[str, Any]:
    task = read(run.task)
    assert task is not None, "the service writes the task before it starts the process"
    if stopped:
        return {"outcome": "stopped"}
    from rich.console import Console

    from core.console import ConsoleReporter
    from core.fit import fit
    from core.judge import evaluate_job
    from core.reporting import EventLog, Fanout, Reporter
    from core.spec import EvaluateJob, parse_spec

    spec = parse_spec(task["spec"])
    log = EventLog(run.events)
    reporters: list[Reporter] = [log, ConsoleReporter(Console(file=sys.stdout, soft_wrap=True, highlight=False))]
    if spec.tracking.wandb.mode != "disabled":
        from core.wandb_reporter import WandbReporter

        def warn(message: str) -> None:
            log.emit("log", {"level": "warning", "message": message})
            print(f"warning: {message}")

        reporters.append(WandbReporter(spec, run.path, on_failure=warn))
    reporter = Fanout(reporters)
    roots = [Path(root) for root in task["data_roots"]]
    try:
        if isinstance(spec, EvaluateJob):
            result = evaluate_job(spec, run.path, reporter=reporter, data_roots=roots, device=task["device"])
        else:
            result = fit(
                spec,
                run.path,
                reporter=reporter,
                data_roots=roots,
                should_stop=lambda: bool(stopped),
                device=task["device"],
            )
    finally:
        reporter.close()
    return {"outcome": result.state, "step": result.step}


def failure(error: BaseException) -> dict[str, Any]:
    """What went wrong as a reason and one sentence for the user."""
    from core.assemble import ComponentError
    from core.durable import DamagedFileError
    from core.meter import NonFiniteLossError

    said = " ".join(str(error).split())[:1000]
    reason, message = "code_error", f"{type(error).__name__}: {said}"
    if isinstance(error, NonFiniteLossError):
        reason, message = "loss_not_finite", said
    elif isinstance(error, ComponentError | DamagedFileError):
        reason, message = "invalid_component", said
    elif _is_full(error, said):
        reason, message = "no_space", f"there is no space left for checkpoints or components: {said}"
    elif isinstance(error, MemoryError) or _is_out_of_memory(error, said):
        reason = "out_of_memory"
        message = f"memory ran out: take a smaller training.batch_size or a smaller model ({said[:200]})"
    elif isinstance(error, RuntimeError) and _HARDWARE.search(said):
        reason, message = "hardware_fault", f"the device failed: {said}"
    elif isinstance(error, ValueError):
        # A data set that is missing, a split that is impossible: the message says what to do.
        message = said
    return {"outcome": "failed", "reason": reason, "message": message}


def _is_full(error: BaseException, said: str) -> bool:
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    # The writer of safetensors has errors of its own.
    return full or "No space left on device" in said


def _is_out_of_memory(error: BaseException, said: str) -> bool:
    return (
        type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in said or "out of memory" in said.lower()
    )


_HARDWARE = re.compile(
    r"uncorrectable ECC|\bXid\b|CUDA error: (unknown error|unspecified launch failure|hardware)", re.IGNORECASE
)


def _process_start() -> float:
    import psutil

    return float(psutil.Process().create_time())


if __name__ == "__main__":
    sys.exit(main())
