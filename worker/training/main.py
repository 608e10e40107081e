"""The training process: one attempt of one job, with nothing but its run directory.

`python -m worker.training.main RUN_DIR ATTEMPT`, or `python -m worker.training.main TASKS.json` where Slurm starts it:
a list of [run directory, attempt], of which this is the one with the array's index.
SIGTERM and Slurm's SIGUSR2 mean: write a checkpoint and stop.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from core.run.lock import InUseError, run_lock
from core.run.rundir import RunDir, read
from worker.training.faults import is_hardware_fault
from worker.training.ranks import RankInfo, follow, lead, rank_info

LOCK_WAIT_S = 120.0
RESERVE_BYTES = 1 << 16
# By which a process notices that another one of its attempt is gone.
_PEER_GONE = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "remote process exited")


def main() -> int:
    """Runs the attempt; the exit code says nothing that `outcome.json` does not say better."""
    stopped: list[str] = []

    def stop(number: int, _frame: object) -> None:
        stopped.append(signal.Signals(number).name)

    for number in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    run = _named()
    task = read(run.task)
    assert task is not None, "the service writes the task before it starts the process"
    place = rank_info(task)
    if place.slurm_job_id is not None:
        _log_to(run, place)
    if place.rank:
        return _run_beside(run, task, place, stopped)
    # Two processes may have been started for one attempt, or this one so late that it was given up: the first one runs.
    claim = {"pid": os.getpid(), "started": _process_start(), "host": _host(), "slurm_job_id": place.slurm_job_id}
    if not run.try_claim(claim):
        print("another process has taken this attempt")
        return 0
    try:
        run.reserve.write_bytes(bytes(RESERVE_BYTES))
        with run_lock(run.path, wait_s=LOCK_WAIT_S, give_up=lambda: bool(stopped)):
            others = lead(run, place)
            outcome = _train(run, task, stopped)
            for other in others:
                other.wait()
    except BaseException as error:
        # Told to stop while it still waited for the run directory, it has done nothing wrong.
        waited = isinstance(error, InUseError) and bool(stopped)
        outcome = {"outcome": "stopped"} if waited else failure(error)
        if outcome["outcome"] == "lost":
            outcome = _said_by_others(run) or outcome
        if outcome.get("reason") == "code_error" and not outcome.get("plain"):
            traceback.print_exc()
        elif not waited:
            print(f"Error: {outcome['message']}", file=sys.stderr)
    if outcome["outcome"] == "stopped":
        told = {"signal": stopped[0] if stopped else None, "at": time.time()}
        outcome |= told | {"began": _process_start(), "lead_s": task.get("lead_s", 0)}
    # The device may be full: what was kept for this moment makes room for the last word.
    run.reserve.unlink(missing_ok=True)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    run.write(run.outcome, outcome)
    # Whatever threads are still there have nothing to add.
    os._exit(0 if outcome["outcome"] in ("succeeded", "stopped") else 1)


def _run_beside(run: RunDir, task: dict[str, Any], place: RankInfo, stopped: list[str]) -> int:
    """What every process but the first does: the same, and says nothing of it."""
    if not follow(run, place):
        print("another start has taken this attempt")
        return 0
    code = 0
    try:
        _train(run, task, stopped)
    except BaseException as error:
        traceback.print_exc()
        code = 1
        outcome = failure(error)
        if outcome["outcome"] == "failed":
            run.write(run.outcome_of(place.rank), outcome)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _said_by_others(run: RunDir) -> dict[str, Any] | None:
    """What went wrong in another process of this attempt, if it could still say so."""
    for file in sorted(run.attempt_dir.glob(run.outcome_of("*").name)):
        return read(file)
    return None


def _named() -> RunDir:
    if len(sys.argv) == 3:
        return RunDir(Path(sys.argv[1]), int(sys.argv[2]))
    path, attempt = json.loads(Path(sys.argv[1]).read_text())[int(os.environ.get("SLURM_ARRAY_TASK_ID", "0"))]
    return RunDir(Path(path), attempt)


def _log_to(run: RunDir, place: RankInfo) -> None:
    """Slurm's own files for output are elsewhere; a job's log is in its run directory, wherever it runs."""
    log = run.log if place.rank == 0 else run.log.with_name(f"log-rank{place.rank}.txt")
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _host() -> str:
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def _train(run: RunDir, task: dict[str, Any], stopped: list[str]) -> dict[str, Any]:
    if stopped:
        return {"outcome": "stopped"}
    from rich.console import Console

    from core.reporting.console import ConsoleReporter
    from core.reporting.event_log import EventLog
    from core.reporting.protocol import Fanout, Reporter
    from core.spec import EvaluateJob, parse_stored
    from core.train.evaluate_job import evaluate_job
    from core.train.fit import fit

    spec = parse_stored(task["spec"])
    reporters: list[Reporter] = []
    if os.environ.get("RANK", "0") == "0":
        log = EventLog(run.events)
        reporters = [log, ConsoleReporter(Console(file=sys.stdout, soft_wrap=True, highlight=False))]
    if reporters and spec.tracking.wandb.mode != "disabled":
        from core.reporting.wandb import WandbReporter

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
    from core.model.assemble import ComponentError
    from core.run.durable import DamagedFileError
    from core.train.non_finite import NonFiniteLossError

    said = " ".join(str(error).split())[:1000]
    reason, message = "code_error", f"{type(error).__name__}: {said}"
    if os.environ.get("WORLD_SIZE", "1") != "1" and any(sign in said for sign in _PEER_GONE):
        # Why it is gone others know better.
        return {"outcome": "lost", "message": f"another process of this job is gone: {said[:200]}"}
    if isinstance(error, NonFiniteLossError):
        reason, message = "loss_not_finite", said
    elif isinstance(error, ComponentError | DamagedFileError):
        reason, message = "invalid_component", said
    elif _is_full(error, said):
        reason, message = "no_space", f"there is no space left for checkpoints or components: {said}"
    elif isinstance(error, MemoryError) or _is_out_of_memory(error, said):
        reason = "out_of_memory"
        message = f"memory ran out: take a smaller training.batch_size or a smaller model ({said[:200]})"
    elif isinstance(error, RuntimeError) and is_hardware_fault(said):
        return {
            "outcome": "failed",
            "reason": "hardware_fault",
            "message": f"the device failed: {said}",
            "node": _host(),
        }
    elif isinstance(error, ValueError):
        # A data set that is missing, a split that is impossible: the message says what to do, the log says no more.
        return {"outcome": "failed", "reason": reason, "message": said, "plain": True}
    return {"outcome": "failed", "reason": reason, "message": message}


def _is_full(error: BaseException, said: str) -> bool:
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    # The writer of safetensors has errors of its own.
    return full or "No space left on device" in said


def _is_out_of_memory(error: BaseException, said: str) -> bool:
    return (
        type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in said or "out of memory" in said.lower()
    )


def _process_start() -> float:
    import psutil

    return float(psutil.Process().create_time())


if __name__ == "__main__":
    sys.exit(main())
