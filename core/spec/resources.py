"""The resources that a job uses, and the trackers it reports to."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from core.spec.fields import GRES, SafeName, SpecModel

# Longer than any phase in which training reports nothing: see "Hangs" in docs/production.md.
HANG_TIMEOUT_MIN = 30
Gres = Annotated[str, StringConstraints(pattern=GRES)]


class SlurmResources(SpecModel):
    """Options of sbatch beyond the common resources."""

    partition: SafeName | None = None
    account: SafeName | None = None
    qos: SafeName | None = None
    constraint: SafeName | None = None
    gres: Gres | None = None
    exclude: Annotated[tuple[SafeName, ...], Field(strict=False, max_length=256)] = ()


class Resources(SpecModel):
    """`cpus` is the number of threads that training uses on every executor, so that a specification has one result.

    `gpus` null means one GPU where there is one. `memory_gb` is in GiB, `time_limit_min` in minutes. A training process
    that reports nothing for `hang_timeout_min` minutes is ended; null means never.
    """

    executor: Literal["local", "slurm"] = "local"
    gpus: Annotated[int, Field(ge=0, le=64)] | None = None
    cpus: Annotated[int, Field(ge=1, le=1024)] = 2
    memory_gb: Annotated[int, Field(ge=1, le=65_536)] | None = None
    nodes: Annotated[int, Field(ge=1, le=1024)] = 1
    time_limit_min: Annotated[int, Field(ge=1, le=60 * 24 * 365)] | None = None
    hang_timeout_min: Annotated[int, Field(ge=1, le=60 * 24 * 365)] | None = HANG_TIMEOUT_MIN
    slurm: SlurmResources = SlurmResources()


class Wandb(SpecModel):
    """Weights & Biases: `offline` writes to the run directory and needs no network.

    With `online`, a server that does not answer delays the start of training by 20 s and its end by 30 s at most; what
    was not uploaded stays in the run directory, for `wandb sync`.
    """

    mode: Literal["disabled", "offline", "online"] = "disabled"
    project: SafeName | None = None
    entity: SafeName | None = None


class Tracking(SpecModel):
    """Trackers in addition to the event log."""

    wandb: Wandb = Wandb()
