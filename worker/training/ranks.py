"""The processes of one attempt: which one this is, and how they find each other."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

from core.run.rundir import RunDir, read

MEETING_LIMIT_S = 300.0


@dataclass(frozen=True)
class RankInfo:
    """One process among those of an attempt; `slurm_job_id` where Slurm started it."""

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1
    slurm_job_id: str | None = None


def rank_info(task: dict[str, Any]) -> RankInfo:
    """This process's place: as Slurm says, or as the first process of this machine told the others."""
    if os.environ.get("SUBMITIT_EXECUTOR") == "slurm":
        from submitit import JobEnvironment

        slurm = JobEnvironment()
        return RankInfo(slurm.global_rank, slurm.local_rank, slurm.num_tasks, slurm.job_id)
    rank = int(os.environ.get("RANK", "0"))
    return RankInfo(rank, rank, int(task.get("processes", 1)))


def lead(run: RunDir, place: RankInfo) -> list[subprocess.Popen[bytes]]:
    """What the first process does once the attempt is its own: says where it is to be met, and starts the others."""
    if place.world_size == 1:
        return []
    address = "127.0.0.1"
    if place.slurm_job_id is not None:
        address = socket.gethostbyname(socket.gethostname())
    run.write(run.meeting, {"address": address, "port": _free_port(), "slurm_job_id": place.slurm_job_id})
    _announce(run, place)
    if place.slurm_job_id is not None:
        return []
    # In the process group of this one: they end with it, however it ends.
    command = [sys.executable, "-m", "worker.training.main", str(run.path), str(run.attempt)]
    return [
        subprocess.Popen(command, env=os.environ | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(1, place.world_size)
    ]


def follow(run: RunDir, place: RankInfo) -> bool:
    """What every other process does: waits for the first one; false where that one is of another start."""
    deadline = time.monotonic() + MEETING_LIMIT_S
    while read(run.meeting) is None:
        claim = read(run.claim)
        if claim is not None and claim.get("slurm_job_id") != place.slurm_job_id:
            return False
        if time.monotonic() > deadline:
            raise TimeoutError("the first process of this attempt has not said where it is")
        time.sleep(0.05)
    meeting = read(run.meeting)
    if meeting is None or meeting["slurm_job_id"] != place.slurm_job_id:
        return False
    _announce(run, place)
    return True


def _announce(run: RunDir, place: RankInfo) -> None:
    """To PyTorch, in the variables that it reads."""
    meeting = read(run.meeting)
    assert meeting is not None
    os.environ |= {
        "RANK": str(place.rank),
        "LOCAL_RANK": str(place.local_rank),
        "WORLD_SIZE": str(place.world_size),
        "MASTER_ADDR": meeting["address"],
        "MASTER_PORT": str(meeting["port"]),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
