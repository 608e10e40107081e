"""The training process: runs one attempt of one job, with nothing but its run directory.

`python -m worker.training.main RUN_DIR ATTEMPT`. SIGTERM and Slurm's SIGUSR2 request a checkpoint and an end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.run.lock import InUseError, run_lock
from core.run.protocol import Claim, Outcome, OutcomeKind, Task
from core.run.rundir import AttemptDir, RunDir
from worker.training.failures import classify_error, host_name
from worker.training.preload import preload
from worker.training.ranks import RankInfo, follow, lead, rank_info

LOCK_WAIT_S = 120.0
RESERVE_BYTES = 1 << 16
# How often to look for a newer attempt: through a shared file system that costs as much as a small step.
LOOK_S = 5.0
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR2)


class StopRequest:
    """Whether this process has been asked to stop, and by which signal first. Other stop signals are ignored.

    Ends the process when asked after another machine has begun the next attempt: this one was given up on, and whatever
    it would write belongs to nobody.
    """

    def __init__(self, signals: Collection[signal.Signals], attempt: AttemptDir) -> None:
        self.signal: str | None = None
        self._next_attempt = attempt.run.attempt(attempt.number + 1)
        self._look_at = 0.0
        for number in STOP_SIGNALS:
            signal.signal(number, self._note if number in signals else signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # `fork_attempt` blocks them until there are handlers.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    def _note(self, number: int, _frame: object) -> None:
        self.signal = self.signal or signal.Signals(number).name

    def __bool__(self) -> bool:
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_S
            if self._next_attempt.task.exists():
                print("another machine goes on with this job: ending this attempt", file=sys.stderr, flush=True)
                os._exit(1)
        return self.signal is not None


def main() -> int:
    """Runs the attempt that the command line names."""
    path, attempt = sys.argv[1:]
    return run_attempt(RunDir(Path(path)).attempt(int(attempt)))


def run_attempt(attempt: AttemptDir, stop_signals: Collection[signal.Signals] = STOP_SIGNALS) -> int:
    """Runs an attempt and ends this process. Returns 0 if another process has claimed the attempt.

    The outcome file says how the attempt ended; the exit code only whether it went well.
    """
    stop = StopRequest(stop_signals, attempt)
    task = Task.read(attempt)
    assert task is not None, "the service writes the task before it starts the process"
    info = rank_info(task)
    if info.slurm_job_id is not None:
        _redirect_output(attempt.rank_log(info.rank))
    if info.rank:
        return _run_other_rank(attempt, task, info, stop)
    # Two processes may have been started for one attempt, or this one so late that the worker gave up on it.
    claim = Claim(os.getpid(), _started_at(), host_name(), info.slurm_job_id)
    if not claim.try_claim(attempt):
        print("another process has claimed this attempt")
        return 0
    try:
        attempt.reserve.write_bytes(bytes(RESERVE_BYTES))
        with run_lock(attempt.run.path, wait_s=LOCK_WAIT_S, give_up=lambda: bool(stop)):
            others = lead(attempt, info)
            outcome = _train(attempt, task, stop)
            for other in others:
                other.wait()
    except BaseException as error:
        outcome = _outcome_of(error, attempt, stop)
    if outcome.kind is OutcomeKind.stopped:
        outcome = replace(
            outcome, signal=stop.signal, stopped_at=time.time(), started_at=_started_at(), lead_s=task.lead_s
        )
    # The disk may be full: the reserve makes room for the outcome.
    attempt.reserve.unlink(missing_ok=True)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    outcome.write(attempt)
    # Without waiting for threads: all that they could add has been written.
    os._exit(0 if outcome.kind in (OutcomeKind.succeeded, OutcomeKind.stopped) else 1)


def _outcome_of(error: BaseException, attempt: AttemptDir, stop: StopRequest) -> Outcome:
    if isinstance(error, InUseError) and stop:
        # It was asked to stop while it waited for the run directory: nothing went wrong.
        return Outcome(OutcomeKind.stopped)
    outcome = classify_error(error)
    if outcome.kind is OutcomeKind.lost:
        outcome = Outcome.read_from_ranks(attempt) or outcome
    if outcome.reason == "code_error" and not outcome.is_user_error:
        traceback.print_exc()
    else:
        print(f"Error: {outcome.message}", file=sys.stderr)
    return outcome


def _run_other_rank(attempt: AttemptDir, task: Task, info: RankInfo, stop: StopRequest) -> int:
    """Trains alongside the first process, which reports for all."""
    if not follow(attempt, info):
        print("another start of this job has claimed the attempt")
        return 0
    code = 0
    try:
        _train(attempt, task, stop)
    except BaseException as error:
        traceback.print_exc()
        code = 1
        outcome = classify_error(error)
        if outcome.kind is OutcomeKind.failed:
            outcome.write(attempt, info.rank)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _redirect_output(log: Path) -> None:
    """Sends standard output and error to a file of the run directory, wherever Slurm would have sent them."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _train(attempt: AttemptDir, task: Task, stop: StopRequest) -> Outcome:
    if stop:
        return Outcome(OutcomeKind.stopped)
    preload()
    from rich.console import Console

    from core.reporting.alerts import Alert
    from core.reporting.console import ConsoleReporter
    from core.reporting.event_log import EventLog
    from core.reporting.protocol import Fanout, Reporter
    from core.spec import EvaluateJob, parse_stored
    from core.train.evaluate_job import evaluate_job
    from core.train.fit import fit

    spec = parse_stored(task.spec)
    reporters: list[Reporter] = []
    if os.environ.get("RANK", "0") == "0":
        log = EventLog(attempt.events)
        reporters = [log, ConsoleReporter(Console(file=sys.stdout, soft_wrap=True, highlight=False))]
    if reporters and spec.tracking.wandb.mode != "disabled":
        from core.reporting.wandb import WandbReporter

        def warn(message: str) -> None:
            Alert("tracking_failed", "Weights & Biases is off", message, subject="wandb", once=True).raise_to(log)
            print(f"warning: {message}")

        reporters.append(WandbReporter(spec, attempt.run.path, on_failure=warn))
    shared: dict[str, Any] = {
        "reporter": Fanout(reporters),
        "data_roots": [Path(root) for root in task.data_roots],
        "device": task.device,
        "content_cache": Path(task.content_cache) if task.content_cache else None,
    }
    try:
        if isinstance(spec, EvaluateJob):
            result = evaluate_job(spec, attempt.run.path, **shared)
        else:
            result = fit(spec, attempt.run.path, should_stop=lambda: bool(stop), **shared)
    finally:
        shared["reporter"].close()
    return Outcome(OutcomeKind(result.state), step=result.step)


def _started_at() -> float:
    import psutil

    return float(psutil.Process().create_time())


if __name__ == "__main__":
    sys.exit(main())
