"""Slurm's reasons for a pending job, in plain words."""

from __future__ import annotations

import re

# How the reasons that squeue prints begin, and what they mean for a user.
_MEANINGS = {
    "Priority": "jobs of higher priority are ahead of it",
    "Resources": "waiting for nodes to become free",
    "JobArrayTaskLimit": "as many points of the sweep are running as may run at once",
    "Dependency": "waiting for another Slurm job",
    "BeginTime": "Slurm will start it a little later",
    "Cleaning": "Slurm is cleaning up after it",
    "Licenses": "waiting for a licence",
    "PartitionDown": "the partition is down: ask your administrators",
    "PartitionInactive": "the partition is not accepting jobs at the moment: ask your administrators",
    "PartitionNodeLimit": "it requests more nodes than the partition allows per job; cancel it, then retry with fewer",
    "PartitionConfig": "it requests more than the partition has; cancel it, then retry with less",
    "PartitionTimeLimit": "its time limit exceeds that of the partition; cancel it, then retry with a shorter one",
    "ReqNodeNotAvail": "a node that it needs is down, drained or reserved",
    "NodeDown": "a node that it needs is down",
    "Nodes required for job are DOWN": "nodes that it needs are down, drained or reserved",
    "BadConstraints": "no node satisfies its constraint; cancel it, then retry with another one",
    "Reservation": "waiting for a reservation",
    "JobHeldAdmin": "held by an administrator",
    "JobHeldUser": "held: `scontrol release` lets it start",
    "launch failed requeued held": "it could not be launched and is held: `scontrol release` lets it start",
    "QOS": "a limit of the quality of service is reached",
    "Assoc": "a limit of your account is reached",
    "MaxGRES": "a limit on GPUs is reached",
    "InvalidAccount": "Slurm does not know the account",
    "InvalidQOS": "Slurm does not know the quality of service",
    "None": "Slurm has not looked at it yet",
}


def explain(reason: str) -> str:
    """Why a job is pending, for its user; Slurm's reason code follows in parentheses."""
    code = re.sub(r"^\((.*)\)$", r"\1", reason.strip()) or "None"
    for beginning, meaning in _MEANINGS.items():
        if code.startswith(beginning):
            return f"pending in Slurm: {meaning} ({code[:80]})"
    return f"pending in Slurm ({code[:80]})"
