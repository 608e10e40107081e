"""Slurm's commands and their output, parsed with care: versions and sites differ in what they print."""

from __future__ import annotations

import logging
import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from submitit.slurm.slurm import _parse_node_list, read_job_id

log = logging.getLogger(__name__)
TIMEOUT_S = 30.0

PENDING = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
SUSPENDED = {"SUSPENDED", "STOPPED"}
RUNNING = {"RUNNING", "COMPLETING", "SIGNALING", "STAGE_OUT", "RESIZING", *SUSPENDED}
TERMINAL = {
    "COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "DEADLINE", "PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "OUT_OF_MEMORY",
    "REVOKED", "LAUNCH_FAILED", "RECONFIG_FAIL",
}  # fmt: skip
_ID = re.compile(r"\d+(_(\d+|\[\d[\d,%-]*\]))?")


class UnreachableError(Exception):
    """Slurm does not answer. That says nothing about its jobs."""


@dataclass(frozen=True)
class Row:
    """One job as Slurm lists it: id (`12`, or `12_3` in an array), name, state, nodes (`n1,n2`) and reason."""

    id: str
    name: str
    state: str
    nodes: str
    reason: str = ""

    @property
    def index(self) -> int | None:
        """The index in its array; None if it is not part of one."""
        _, _, index = self.id.partition("_")
        return int(index) if index else None

    @property
    def sort_key(self) -> tuple[int, ...]:
        """Sort key: older jobs first."""
        return tuple(int(part) for part in self.id.split("_"))


def run(command: Sequence[str]) -> str:
    """The output of a command; raises UnreachableError with its error message."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            timeout=TIMEOUT_S,
            env=os.environ | {"LC_ALL": "C", "SLURM_TIME_FORMAT": "standard"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnreachableError(f"{command[0]}: {error}") from None
    if done.returncode != 0:
        raise UnreachableError(f"{command[0]}: {done.stderr.decode('utf-8', 'replace').strip()[:300]}")
    return done.stdout.decode("utf-8", "replace")


def queue() -> list[Row]:
    """Every job of this user that the controller knows, including those that ended a short while ago."""
    command = ["squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}", "--format=%i|%j|%T|%N|%r"]
    return list(parse(run(command).splitlines()))


def accounts(ids: Iterable[str], since: datetime | None) -> list[Row] | None:
    """What the accounting database knows of some jobs, or of all jobs since a time; None if there is no accounting."""
    command = ["sacct", "--allocations", "--noheader", "--parsable2", "--format=JobID,JobName,State,NodeList,Reason"]
    if since is not None:
        command += [f"--user={os.getuid()}", f"--starttime={since.astimezone():%Y-%m-%dT%H:%M:%S}"]
    else:
        command += ["--jobs=" + ",".join(sorted({job.partition("_")[0] for job in ids}))]
    try:
        return list(parse(run(command).splitlines()))
    except UnreachableError as error:
        log.info("Slurm accounting is not available: %s", error)
        return None


def parse(lines: Iterable[str]) -> Iterable[Row]:
    """Rows of `id|name|state|nodes|reason`. Other lines, such as warnings, are skipped.

    Array tasks that have not started may share one line, `12_[0-3,5%2]`.
    """
    for line in lines:
        parts = line.strip().split("|", 4)
        if len(parts) < 4 or not _ID.fullmatch(parts[0]):
            continue
        # `CANCELLED by 1000`, `RUNNING+`: the first word is the state.
        state = re.match(r"[A-Z_]+", parts[2].strip().upper())
        nodes = parts[3].strip()
        nodes = "" if nodes.startswith(("(", "None")) else ",".join(_parse_node_list(nodes))
        reason = parts[4].strip() if len(parts) > 4 else ""
        for job_id in _each(parts[0]):
            yield Row(job_id, parts[1], state[0] if state else "", nodes, reason)


def _each(job_id: str) -> Iterable[str]:
    if "[" not in job_id:
        return [job_id]
    spans = [(main, int(bounds[0]), int(bounds[-1])) for main, *bounds in read_job_id(job_id)]
    return [f"{main}_{index}" for main, first, last in spans for index in range(first, last + 1)]


def booted_at() -> datetime | None:
    """When the controller was last started; None if it does not tell."""
    try:
        boot_time = re.search(r"^BOOT_TIME\s*=\s*(\S+)", run(["scontrol", "show", "config"]), re.MULTILINE)
        return datetime.fromisoformat(boot_time[1]).astimezone() if boot_time else None
    except (UnreachableError, ValueError):
        return None


def cancel(ids: Sequence[str], *, signal: str | None = None) -> None:
    """Cancels jobs, or sends their processes a signal. It does no harm if some have ended in the meantime."""
    for start in range(0, len(ids), 500):
        batch = list(ids[start : start + 500])
        try:
            run(["scancel", *([f"--signal={signal}"] if signal else []), *batch])
        except UnreachableError as error:
            # scancel fails if one of the jobs has ended. A job that is left over is killed in a later round.
            log.info("%s", error)
