"""The processes of one attempt: which one this is, and how they find each other."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass

from core.run.protocol import Claim, Rendezvous, Task
from core.run.rundir import AttemptDir

RENDEZVOUS_LIMIT_S = 300.0
# From <sys/prctl.h>.
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class RankInfo:
    """One process among those of an attempt. `slurm_job_id` is set if Slurm started it."""

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1
    slurm_job_id: str | None = None


def rank_info(task: Task) -> RankInfo:
    """The rank of this process: from Slurm, or from the environment that `lead` gave to the other processes."""
    if os.environ.get("SUBMITIT_EXECUTOR") == "slurm":
        from submitit import JobEnvironment

        slurm = JobEnvironment()
        return RankInfo(slurm.global_rank, slurm.local_rank, slurm.num_tasks, slurm.job_id)
    rank = int(os.environ.get("RANK", "0"))
    return RankInfo(rank, rank, task.processes)


def lead(attempt: AttemptDir, info: RankInfo) -> list[subprocess.Popen[bytes]]:
    """Publishes the rendezvous as the first process, and starts the others on this machine."""
    if info.world_size == 1:
        return []
    address = "127.0.0.1"
    if info.slurm_job_id is not None:
        address = socket.gethostbyname(socket.gethostname())
    rendezvous = Rendezvous(address, _free_port(), info.slurm_job_id)
    rendezvous.write(attempt)
    _configure_torch(rendezvous, info)
    if info.slurm_job_id is not None:
        return []
    # They are in the process group of this one, so that a signal to the group reaches them.
    command = [sys.executable, "-m", "worker.training.main", str(attempt.run.path), str(attempt.number)]
    return [
        subprocess.Popen(command, env=os.environ | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(1, info.world_size)
    ]


def follow(attempt: AttemptDir, info: RankInfo) -> bool:
    """Waits for the rendezvous as any other process; False if the attempt belongs to another start of the job."""
    if info.slurm_job_id is None and not _end_with_first_process(attempt):
        return False
    deadline = time.monotonic() + RENDEZVOUS_LIMIT_S
    while (rendezvous := Rendezvous.read(attempt)) is None:
        claim = Claim.read(attempt)
        if claim is not None and claim.slurm_job_id != info.slurm_job_id:
            return False
        if time.monotonic() > deadline:
            raise TimeoutError(f"the first process of this attempt published no address in {RENDEZVOUS_LIMIT_S:.0f} s")
        time.sleep(0.05)
    if rendezvous.slurm_job_id != info.slurm_job_id:
        return False
    _configure_torch(rendezvous, info)
    return True


def _end_with_first_process(attempt: AttemptDir) -> bool:
    """Has the kernel kill this process when the first one ends, so that it never holds a device that is free again.

    Returns False if the first process has ended already.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    claim = Claim.read(attempt)
    return claim is not None and claim.pid == os.getppid()


def _configure_torch(rendezvous: Rendezvous, info: RankInfo) -> None:
    """Sets the variables that torch.distributed reads."""
    os.environ |= {
        "RANK": str(info.rank),
        "LOCAL_RANK": str(info.local_rank),
        "WORLD_SIZE": str(info.world_size),
        "MASTER_ADDR": rendezvous.address,
        "MASTER_PORT": str(rendezvous.port),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
