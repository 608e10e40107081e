"""Hands attempts to sbatch through submitit: one entry point, JSON arguments, an array for many."""

from __future__ import annotations

import json
import logging
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from submitit.core.utils import FailedJobError, FailedSubmissionError
from submitit.slurm.slurm import SlurmExecutor as Submitit

from core.run.durable import write_durably
from worker.executors.base import LaterError, RefusedError, Submission

log = logging.getLogger(__name__)
TASKS = "tasks.json"
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:,\[\]-]{0,1023}")
_PATH = re.compile(r"/[A-Za-z0-9_./+@=-]*")
# What sbatch says when it may have submitted the job all the same.
_DOUBT = re.compile(
    r"timed? ?out|unable to contact|zero bytes|communication|connection|transport|socket|slurmctld|protocol|credential"
    r"|i/o error|interrupted",
    re.IGNORECASE,
)
# What it says when there will be room later.
_LATER = re.compile(
    r"MaxSubmit|submit limit|job limit|temporarily unable to accept|Resource temporarily unavailable", re.IGNORECASE
)


class InDoubtError(Exception):
    """Nobody knows whether Slurm has the job; its slurm_job_name tells, once Slurm answers again."""


class _FixedEntry(Submitit):
    """submitit's executor with a command of its own in the place of a pickled function.

    So nothing is unpickled on either side, and a job whose submitter dies between sbatch and submitit's renaming of the
    pickle finds its arguments all the same.
    """

    def submit_tasks(self, tasks: Path, count: int) -> str:
        """The id that Slurm gave to a job of one task, or to an array of them."""
        if count > 1:
            self.parameters["map_count"] = count
        command = f"{self.python} -u -m worker.training.main {shlex.quote(str(tasks))}"
        return str(self._submit_command(command).job_id)


def sbatch(order: Submission, folder: Path) -> str:
    """Submits attempts, as an array if they are several; gives the id.

    Raises RefusedError, LaterError, or InDoubtError. `folder` is where the script and Slurm's own output go; nodes
    must see it.
    """
    for path in (folder, *(run.path for run in order.runs)):
        if not _PATH.fullmatch(str(path)):
            raise RefusedError(
                f"Slurm jobs need a data folder of plain characters, not {path}: set MCN_DATA_DIR to another"
            )
    folder.mkdir(parents=True, exist_ok=True)
    tasks = folder / TASKS
    named = [[str(run.path), run.attempt] for run in order.runs]
    write_durably(tasks, lambda file: file.write_text(json.dumps(named)))
    executor = _FixedEntry(folder)
    executor.update_parameters(**parameters(order))
    try:
        return executor.submit_tasks(tasks, len(order.runs))
    except (FailedJobError, FailedSubmissionError) as error:
        said = _plain(str(error))
        if _LATER.search(said):
            raise LaterError(said) from None
        if isinstance(error, FailedSubmissionError) or _DOUBT.search(said):
            raise InDoubtError(said) from None
        raise RefusedError(f"Slurm does not take it: {said}") from None


def _plain(said: str) -> str:
    lines = [line.removeprefix("sbatch: ").removeprefix("error: ") for line in said.splitlines() if line.strip()]
    return " ".join(" ".join(lines).split())[:400] or "sbatch failed without a word"


def parameters(order: Submission) -> dict[str, Any]:
    """What submitit is told; raises RefusedError for a value that is no plain word, whatever let it come so far."""
    asked = order.resources
    slurm = asked["slurm"]
    words: dict[str, str | None] = {
        "job_name": order.slurm_job_name,
        "comment": order.slurm_job_name,
        **{name: slurm[name] for name in ("partition", "account", "qos", "constraint", "gres")},
        "exclude": ",".join([*slurm["exclude"], *order.exclude]) or None,
    }
    wrong = [name for name, word in words.items() if word is not None and not _WORD.fullmatch(word)]
    if wrong:
        raise RefusedError(f"resources.slurm.{wrong[0]}: letters, digits, and _ . - only")
    numbers = {
        "time": asked["time_limit_min"],
        "nodes": asked["nodes"],
        "ntasks_per_node": order.processes_per_node,
        "cpus_per_task": asked["cpus"],
        "gpus_per_node": asked["gpus"] or None,
        "mem": f"{asked['memory_gb']}GB" if asked["memory_gb"] else None,
        "signal_delay_s": order.lead_s,
        "array_parallelism": order.at_once or len(order.runs),
    }
    given = {name: value for name, value in {**words, **numbers}.items() if value is not None}
    return given | {
        "wckey": "mcn",
        # An attempt is one Slurm job: the next one is another, and who asks for it knows why.
        "additional_parameters": {"no-requeue": True},
        # Where one process of several is gone the others wait for nothing.
        "srun_args": ["--kill-on-bad-exit=1"],
        "stderr_to_stdout": True,
    }


def output_of(folder: Path, slurm_id: str, lines: int = 5) -> str:
    """The end of what Slurm itself wrote about a job: why its process never began."""
    found: list[str] = []
    for file in sorted(folder.glob(f"{slurm_id}_*.out")):
        found += file.read_text(errors="replace").replace("\0", "").splitlines()[-lines:]
    return "\n".join(found[-lines:])


def ids(first: str, order: Submission) -> Sequence[str]:
    """The id of every attempt of an order."""
    return [first] if len(order.runs) == 1 else [f"{first}_{index}" for index in range(len(order.runs))]
