"""Slurm checks of `mcn doctor`: controller, accounting, preemption signals, and the data folder on a node."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

# Name, whether the check passed, and what was seen or how to fix it.
Row = tuple[str, bool, str]
# How long the check of the data folder waits for a free node.
NODE_LIMIT_S = 20


def run_checks(data_dir: Path) -> Iterator[Row]:
    """Runs every Slurm check; only the first one if Slurm is not usable."""
    if shutil.which("sbatch") is None:
        yield "Slurm", False, "sbatch is not installed: jobs run on this machine only"
        return
    version, config = _run("sinfo", "--version"), _run("scontrol", "show", "config")
    if config is None:
        advice = "no controller responds: set SLURM_CONF, or ask your administrator"
        yield "Slurm", False, f"{version or 'sbatch'} is installed, but {advice}"
        return
    yield "Slurm", True, version or "responds"
    partitions = _run("sinfo", "--noheader", "--format=%P %a %l %D nodes") or ""
    names = "; ".join(dict.fromkeys(line.strip() for line in partitions.splitlines()))
    yield "Slurm partitions", bool(names), names or "none: ask your administrator"
    has_accounting = _run("sacct", "--allocations", "--noheader", "--starttime=now") is not None
    without = "not available: how a job ended is known only while squeue lists it, and from its run directory"
    yield "Slurm accounting", has_accounting, "sacct responds" if has_accounting else without
    yield _check_preemption(config)
    yield _check_data_dir(data_dir)


def _check_preemption(config: str) -> Row:
    name = "Slurm preemption"
    values = dict(re.findall(r"^(\w+)[ \t]*=[ \t]*(.*?)[ \t]*$", config, re.MULTILINE))
    if values.get("PreemptMode", "OFF").upper() == "OFF":
        return name, True, "this cluster does not preempt jobs"
    if "preempt_send_user_signal" in values.get("SlurmctldParameters", ""):
        return name, True, "preempted jobs are signalled in time to save a checkpoint"
    advice = "SlurmctldParameters=preempt_send_user_signal signals them earlier"
    return name, False, f"preempted jobs get SIGTERM only; {advice}"


def _check_data_dir(data_dir: Path) -> Row:
    name = "data folder on a node"
    if not re.fullmatch(r"/[A-Za-z0-9_./+@=-]*", str(data_dir)):
        return name, False, f"{data_dir} contains characters that Slurm scripts do not allow: set MCN_DATA_DIR"
    marker = data_dir / f".doctor-{os.getpid()}"
    options = ["--ntasks=1", "--time=1", "--mem=50", f"--immediate={NODE_LIMIT_S}", "--job-name=mcn-doctor", "--quiet"]
    command = ["srun", *options, "test", "-f", str(marker)]
    try:
        marker.touch()
    except OSError as error:
        return name, False, f"{data_dir} is not writable here ({error.strerror}): set MCN_DATA_DIR"
    try:
        probe = subprocess.run(command, capture_output=True, text=True, timeout=NODE_LIMIT_S + 20)
    except (OSError, subprocess.TimeoutExpired):
        return name, False, "no node was free in time: try again later"
    finally:
        marker.unlink(missing_ok=True)
    if probe.returncode == 0:
        return name, True, f"{data_dir} is visible there"
    if "exited with exit code 1" in probe.stderr or not probe.stderr.strip():
        return name, False, f"{data_dir} is not visible there: set MCN_DATA_DIR to a file system that the nodes share"
    return name, False, f"srun failed ({probe.stderr.strip().splitlines()[-1][:120]})"


def _run(*command: str) -> str | None:
    """The output of a command, None if it failed."""
    try:
        completed = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return completed.stdout.strip()
