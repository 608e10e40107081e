"""Where a job runs and what it may use; and who is told about it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from core.spec.fields import GRES, SpecModel, Word

Gres = Annotated[str, StringConstraints(pattern=GRES)]


class SlurmResources(SpecModel):
    """What is asked of Slurm beyond the common resources; every value is a plain word."""

    partition: Word | None = None
    account: Word | None = None
    qos: Word | None = None
    constraint: Word | None = None
    gres: Gres | None = None
    exclude: Annotated[tuple[Word, ...], Field(strict=False, max_length=256)] = ()


class Resources(SpecModel):
    """`cpus` is the number of threads training uses wherever it runs, so that one spec gives one result.

    `gpus` null means one where there is one. Memory is in GiB, the time limit in minutes.
    """

    executor: Literal["local", "slurm"] = "local"
    gpus: Annotated[int, Field(ge=0, le=64)] | None = None
    cpus: Annotated[int, Field(ge=1, le=1024)] = 2
    memory_gb: Annotated[int, Field(ge=1, le=65_536)] | None = None
    nodes: Annotated[int, Field(ge=1, le=1024)] = 1
    time_limit_min: Annotated[int, Field(ge=1, le=60 * 24 * 365)] | None = None
    slurm: SlurmResources = SlurmResources()


class Wandb(SpecModel):
    """Weights & Biases: `offline` writes to the run directory and needs no network."""

    mode: Literal["disabled", "offline", "online"] = "disabled"
    project: Word | None = None
    entity: Word | None = None


class Tracking(SpecModel):
    """Trackers beside the event log."""

    wandb: Wandb = Wandb()
