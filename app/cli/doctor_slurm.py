"""What `mcn doctor` says of Slurm: whether it answers, remembers, warns in time, and sees the data folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

Row = tuple[str, bool, str]
# How long a node may take to become free for the look at the data folder.
NODE_LIMIT_S = 20


def examine(data_dir: Path) -> Iterator[Row]:
    """What was looked at, whether it is well, and what was seen or is to be done."""
    if shutil.which("sbatch") is None:
        yield "Slurm", False, "no sbatch here: jobs run on this machine only"
        return
    version, config = _run("sinfo", "--version"), _run("scontrol", "show", "config")
    if config is None:
        yield (
            "Slurm",
            False,
            f"{version or 'sbatch'} is here, but no controller answers: set SLURM_CONF, or ask your admin",
        )
        return
    yield "Slurm", True, version or "it answers"
    partitions = _run("sinfo", "--noheader", "--format=%P %a %l %D nodes") or ""
    seen = "; ".join(dict.fromkeys(line.strip() for line in partitions.splitlines()))
    yield "Slurm partitions", bool(seen), seen or "none: ask your admin"
    remembers = _run("sacct", "--allocations", "--noheader", "--starttime=now") is not None
    without = "none: the end of a job is known only as long as squeue remembers it, and from its run directory"
    yield "Slurm accounting", remembers, "sacct answers" if remembers else without
    yield _signals(config)
    yield _folder(data_dir)


def _signals(config: str) -> Row:
    values = dict(re.findall(r"^(\w+)[ \t]*=[ \t]*(.*?)[ \t]*$", config, re.MULTILINE))
    if values.get("PreemptMode", "OFF").upper() == "OFF":
        return "Slurm preemption", True, "jobs are not preempted here"
    if "preempt_send_user_signal" in values.get("SlurmctldParameters", ""):
        return "Slurm preemption", True, "a preempted job is warned and writes a checkpoint"
    advice = "only SIGTERM warns a preempted job; SlurmctldParameters=preempt_send_user_signal warns it earlier"
    return "Slurm preemption", False, advice


def _folder(data_dir: Path) -> Row:
    name = "data folder on a node"
    if not re.fullmatch(r"/[A-Za-z0-9_./+@=-]*", str(data_dir)):
        return name, False, f"{data_dir} has characters that Slurm scripts do not take: set MCN_DATA_DIR to another"
    mark = data_dir / f".doctor-{os.getpid()}"
    mark.touch()
    try:
        options = [
            "--ntasks=1",
            "--time=1",
            "--mem=50",
            f"--immediate={NODE_LIMIT_S}",
            "--job-name=mcn-doctor",
            "--quiet",
        ]
        done = subprocess.run(
            ["srun", *options, "test", "-f", str(mark)], capture_output=True, text=True, timeout=NODE_LIMIT_S + 20
        )
    except (OSError, subprocess.TimeoutExpired):
        return name, False, "no node answered in time: try again when one is free"
    finally:
        mark.unlink(missing_ok=True)
    if done.returncode == 0:
        return name, True, f"{data_dir} is seen there"
    if "exited with exit code 1" in done.stderr or not done.stderr.strip():
        return name, False, f"{data_dir} is not seen there: put MCN_DATA_DIR on a file system that the nodes share"
    return name, False, f"no node could be asked ({done.stderr.strip().splitlines()[-1][:120]})"


def _run(*words: str) -> str | None:
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
