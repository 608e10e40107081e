"""Slurm's reasons in plain words."""

from __future__ import annotations

import re

# The beginnings of reasons that squeue gives, and what they mean to somebody who waits.
_MEANING = {
    "Priority": "jobs of higher priority are before it",
    "Resources": "it waits for nodes to become free",
    "JobArrayTaskLimit": "as many points of the sweep run already as may run at once",
    "Dependency": "it waits for another Slurm job",
    "BeginTime": "Slurm starts it a little later",
    "Cleaning": "Slurm is clearing up after it",
    "Licenses": "it waits for a licence",
    "PartitionDown": "the partition is down: ask your administrators",
    "PartitionInactive": "the partition takes no jobs at the moment: ask your administrators",
    "PartitionNodeLimit": "it asks for more nodes than the partition gives to one job; cancel, then retry with less",
    "PartitionConfig": "it asks for more than the partition has; cancel, then retry with less",
    "PartitionTimeLimit": "its time limit is longer than the partition allows; cancel, then retry with less",
    "ReqNodeNotAvail": "a node that it needs is down, drained or reserved",
    "NodeDown": "a node that it needs is down",
    "Nodes required for job are DOWN": "nodes that it needs are down, drained or reserved",
    "BadConstraints": "no node has what it asks for; cancel, then retry with another",
    "Reservation": "it waits for a reservation",
    "JobHeldAdmin": "an administrator holds it back",
    "JobHeldUser": "it is held back: `scontrol release` lets it go",
    "launch failed requeued held": "it could not be launched and is held back: `scontrol release` lets it go",
    "QOS": "a limit of the quality of service is reached",
    "Assoc": "a limit of your account is reached",
    "MaxGRES": "a limit on GPUs is reached",
    "InvalidAccount": "the account is not known to Slurm",
    "InvalidQOS": "the quality of service is not known to Slurm",
    "None": "Slurm has not looked at it yet",
}


def explain(reason: str) -> str:
    """Why a job pends, for a person; Slurm's own word stands beside it."""
    word = re.sub(r"^\((.*)\)$", r"\1", reason.strip()) or "None"
    for beginning, meaning in _MEANING.items():
        if word.startswith(beginning):
            return f"it waits in Slurm: {meaning} ({word[:80]})"
    return f"it waits in Slurm ({word[:80]})"
