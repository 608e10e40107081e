"""Submits attempts with sbatch through submitit: one entry point, JSON arguments, an array for many attempts."""

from __future__ import annotations

import json
import logging
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from submitit.core.utils import FailedJobError, FailedSubmissionError
from submitit.slurm.slurm import SlurmExecutor as SubmititExecutor

from core.run.durable import write_durably
from core.run.rundir import AttemptDir, RunDir
from worker.executors.base import BusyError, RefusedError, Submission

log = logging.getLogger(__name__)
TASKS = "tasks.json"
_SAFE_VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:,\[\]-]{0,1023}")
_SAFE_PATH = re.compile(r"/[A-Za-z0-9_./+@=-]*")
# What sbatch prints when it may have submitted the job all the same.
_IN_DOUBT = re.compile(
    r"timed? ?out|unable to contact|zero bytes|communication|connection|transport|socket|slurmctld|protocol|credential"
    r"|i/o error|interrupted",
    re.IGNORECASE,
)
# What sbatch prints when there will be room later.
_BUSY = re.compile(
    r"MaxSubmit|submit limit|job limit|temporarily unable to accept|Resource temporarily unavailable", re.IGNORECASE
)


class InDoubtError(Exception):
    """It is not known whether Slurm has accepted the job. The job's name tells, once Slurm answers again."""


class _FixedCommandExecutor(SubmititExecutor):
    """submitit's executor with a fixed command instead of a pickled function.

    Nothing is unpickled on either side, and a job finds its arguments even if the worker dies right after sbatch,
    before submitit would have renamed its pickle.
    """

    def submit_tasks(self, tasks: Path, count: int) -> str:
        """Submits one task, or an array of `count`; returns the Slurm job id."""
        if count > 1:
            self.parameters["map_count"] = count
        command = f"{self.python} -u -m worker.training.slurm_task {shlex.quote(str(tasks))}"
        return str(self._submit_command(command).job_id)


def sbatch(submission: Submission, attempts: Sequence[AttemptDir], folder: Path) -> str:
    """Submits attempts, as an array if they are more than one task; returns the Slurm job id.

    `folder`, for the script and Slurm's own output, must be visible to the nodes. Raises RefusedError, BusyError, or
    InDoubtError.
    """
    for path in (folder, *(attempt.run.path for attempt in attempts)):
        if not _SAFE_PATH.fullmatch(str(path)):
            raise RefusedError(
                f"Slurm jobs need a data folder whose path has only letters, digits and _ . / + @ = -, not {path}: "
                "set MCN_DATA_DIR to another folder"
            )
    folder.mkdir(parents=True, exist_ok=True)
    tasks = group(attempts, submission.attempts_per_task)
    content = [[[str(attempt.run.path), attempt.number] for attempt in task] for task in tasks]
    write_durably(folder / TASKS, lambda file: file.write_text(json.dumps(content)))
    executor = _FixedCommandExecutor(folder)
    executor.update_parameters(**parameters(submission, len(tasks)))
    try:
        return executor.submit_tasks(folder / TASKS, len(tasks))
    except (FailedJobError, FailedSubmissionError) as error:
        message = _clean(str(error))
        if _BUSY.search(message):
            raise BusyError(f"Slurm accepts no more jobs at the moment ({message})") from None
        if isinstance(error, FailedSubmissionError) or _IN_DOUBT.search(message):
            raise InDoubtError(message) from None
        raise RefusedError(f"Slurm rejected the job: {message}") from None


def group(attempts: Sequence[AttemptDir], per_task: int) -> list[Sequence[AttemptDir]]:
    """The attempts of each task, in order."""
    return [attempts[start : start + per_task] for start in range(0, len(attempts), per_task)]


def _clean(output: str) -> str:
    lines = [line.removeprefix("sbatch: ").removeprefix("error: ") for line in output.splitlines() if line.strip()]
    return " ".join(" ".join(lines).split())[:400] or "sbatch failed without a message"


def parameters(submission: Submission, num_tasks: int = 1) -> dict[str, Any]:
    """The parameters for submitit. Raises RefusedError for a value with characters that a shell could interpret."""
    resources = submission.resources
    slurm = resources["slurm"]
    options: dict[str, str | None] = {
        "job_name": submission.job_name,
        "comment": submission.job_name,
        **{name: slurm[name] for name in ("partition", "account", "qos", "constraint", "gres")},
        "exclude": ",".join([*slurm["exclude"], *submission.exclude]) or None,
    }
    unsafe = [name for name, value in options.items() if value is not None and not _SAFE_VALUE.fullmatch(value)]
    if unsafe:
        raise RefusedError(f"resources.slurm.{unsafe[0]}: use letters, digits, and _ . - only")
    numbers = {
        "time": resources["time_limit_min"] * submission.attempts_per_task,
        "nodes": resources["nodes"],
        "ntasks_per_node": submission.processes_per_node,
        "cpus_per_task": resources["cpus"],
        "gpus_per_node": resources["gpus"] or None,
        "mem": f"{resources['memory_gb']}GB" if resources["memory_gb"] else None,
        "signal_delay_s": submission.lead_s,
        "array_parallelism": submission.max_parallel or num_tasks,
    }
    return {name: value for name, value in {**options, **numbers}.items() if value is not None} | {
        "wckey": "mcn",
        # Slurm must not start an attempt again: the service decides when, as a new attempt.
        "additional_parameters": {"no-requeue": True},
        # When one of several processes is gone, the others must not wait for it.
        "srun_args": ["--kill-on-bad-exit=1"],
        "stderr_to_stdout": True,
    }


def output_of(folder: Path, slurm_id: str, lines: int = 5) -> str:
    """The last lines that Slurm wrote about a job: why its process never started."""
    output: list[str] = []
    for file in sorted(folder.glob(f"{slurm_id}_*.out")):
        output += file.read_text(errors="replace").replace("\0", "").splitlines()[-lines:]
    return "\n".join(output[-lines:])


def slurm_ids(first: str, num_attempts: int, per_task: int) -> list[str]:
    """The Slurm job id of every attempt of a submission."""
    if num_attempts <= per_task:
        return [first] * num_attempts
    return [f"{first}_{position // per_task}" for position in range(num_attempts)]


def ran_before(folder: Path, attempt: AttemptDir, array_index: int | None) -> bool:
    """Whether the Slurm task of an attempt has started other attempts before it."""
    try:
        task = json.loads((folder / TASKS).read_text())[array_index or 0]
    except (OSError, ValueError, IndexError):
        return False
    others = [RunDir(Path(path)).attempt(number) for path, number in task]
    return any(other != attempt and other.claim.exists() for other in others)
