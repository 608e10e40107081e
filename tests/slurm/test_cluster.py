"""The cluster itself: that it does what tests of the service on Slurm rely on."""

from __future__ import annotations

import subprocess
from pathlib import Path

import psutil
import pytest

from tests.parts import wait_until
from tests.slurm.cluster import LIMIT_S, Cluster, cluster

# It logs each start and each warning, and runs until it is killed.
STAYS = """#!/bin/sh
trap 'echo warned >> {log}' USR2
echo $$ > {log}.pid
echo "start ${{SLURM_RESTART_COUNT:-0}}" >> {log}
while true; do sleep 600 & wait; done
"""


def _ends(pid: int) -> None:
    # A killed process remains until its parent collects it.
    wait_until(lambda: not psutil.pid_exists(pid), f"the end of process {pid}")


class Job:
    """A batch job that stays until it is killed, and its log."""

    def __init__(self, slurm: Cluster, folder: Path, *options: str) -> None:
        self._slurm, self._log = slurm, folder / "log"
        script = folder / "script"
        script.write_text(STAYS.format(log=self._log))
        self.id = slurm.run("sbatch", "--parsable", f"--output={folder}/out", *options, str(script)).strip()

    def log(self) -> list[str]:
        return self._log.read_text().splitlines() if self._log.exists() else []

    def pid(self) -> int:
        return int(Path(f"{self._log}.pid").read_text())

    def show(self, field: str) -> str:
        """A column of squeue."""
        words = ["--noheader", "--states=all", f"--jobs={self.id}", f"--Format={field}:100"]
        return self._slurm.run("squeue", *words).strip()

    def wait_for(self, line: str) -> None:
        wait_until(lambda: line in self.log(), f"'{line}' in the job's log", LIMIT_S)


def test_srun_runs_on_both_nodes(slurm: Cluster) -> None:
    assert sorted(slurm.run("srun", "--nodes=2", "printenv", "SLURMD_NODENAME").split()) == ["n1", "n2"]


def test_a_failing_command_reports_why(slurm: Cluster) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        slurm.run("sbatch", "--partition=none", "--wrap=true")
    assert "invalid partition" in "".join(caught.value.__notes__)


def test_sacct_sees_a_job_that_has_ended(slurm: Cluster) -> None:
    job_id = slurm.run("srun", "printenv", "SLURM_JOB_ID").strip()
    words = ["sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={job_id}", "--format=State,ExitCode"]
    wait_until(lambda: slurm.run(*words).strip() == "COMPLETED|0:0", "the end in the accounts")


def test_a_job_of_high_priority_warns_and_requeues_one_of_low(slurm: Cluster, tmp_path: Path) -> None:
    low = Job(slurm, tmp_path, "--nodes=2", "--exclusive", "--requeue", "--signal=B:USR2@30")
    low.wait_for("start 0")
    high = slurm.run("sbatch", "--parsable", "--partition=high", "--output=/dev/null", "--wrap=sleep 600").strip()
    low.wait_for("warned")
    wait_until(lambda: low.show("state") == "PENDING", "the requeue", LIMIT_S)
    assert low.show("restartcnt") == "1"
    slurm.run("scancel", high)
    low.wait_for("start 1")
    assert low.log() == ["start 0", "warned", "start 1"]


@pytest.mark.parametrize("end", ["stop_controller", "kill_controller"])
def test_a_new_controller_knows_the_queue(slurm: Cluster, tmp_path: Path, end: str) -> None:
    running = Job(slurm, tmp_path, "--nodes=2", "--exclusive")
    running.wait_for("start 0")
    words = ["sbatch", "--parsable", "--output=/dev/null", f"--job-name={end}", "--wrap=true"]
    waiting = slurm.run(*words).strip()
    if end == "kill_controller":
        slurm.wait_saved(end)
    getattr(slurm, end)()
    slurm.start_controller()
    assert slurm.jobs() == [running.id, waiting]
    assert running.show("state") == "RUNNING"
    assert running.log() == ["start 0"]


def test_nothing_outlives_a_cluster(tmp_path: Path) -> None:
    with cluster(nodes=1) as small:
        job = Job(small, tmp_path)
        job.wait_for("start 0")
        folder, pid = small.folder, job.pid()
    assert not folder.exists()
    _ends(pid)

    def left() -> list[str]:
        words = []
        for process in psutil.process_iter(["cmdline", "cwd"]):
            words += [*(process.info["cmdline"] or []), process.info["cwd"] or ""]
        return [word for word in words if str(folder) in word]

    wait_until(lambda: not left(), "the end of all processes in the folder")


def test_a_drained_node_is_back_after_restoring(slurm: Cluster) -> None:
    slurm.run("scontrol", "update", "nodename=n1", "state=drain", "reason=a test")
    assert slurm.nodes_in("drain") == ["n1"]
    slurm.restore()
    assert slurm.nodes_in("drain") == []
