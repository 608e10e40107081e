"""The certificate of a job as the API shows it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


class DataRecord(BaseModel):
    """The content of a dataset: `sha256` over all of its parts (arrays of an .npz file, else files)."""

    dataset: str
    sha256: str
    num_parts: int
    size_bytes: int


class ResumePoint(BaseModel):
    """The checkpoint that an attempt resumed from."""

    step: int
    sha256: str


class AttemptRecord(BaseModel):
    """An attempt and where it ran; `environment` is null if it ended before it began to train, and in
    attempts of earlier versions.

    The environment has the code and the libraries (`software`), the `device`, and the `precision`, `threads` and
    `processes` that were used. Where processes ran in different environments, `others` has those that the first does
    not have, and `ranks` the number of each process's.
    """

    attempt: int
    executor: str
    host: str
    started_at: str | None
    resumed_from: ResumePoint | None
    environment: dict[str, Any] | None


class CheckpointRecord(BaseModel):
    """A checkpoint that is kept; `parent` is the SHA-256 of the one that training came from."""

    step: int
    epoch: int
    sha256: str
    bytes: int
    parent: str | None
    identity: str | None


class RemovedCheckpoint(BaseModel):
    """A checkpoint that is no longer kept; `known_because` says what still tells of it. Its step may not be known."""

    step: int | None
    sha256: str
    known_because: str


class ComponentRecord(BaseModel):
    """A saved component; `content_sha256` is over its weights and its config."""

    name: str
    epoch: int
    content_sha256: str
    identity: str | None


class SourceRecord(BaseModel):
    """A component that the job started from, by the field of the specification that names it.

    `job` saved it, and `identity` is that of its run; null where that job, or this version of it, is gone.
    """

    field: str
    content_sha256: str
    identity: str | None
    job: str | None


class Provenance(BaseModel):
    """What a result was computed from, and whether the same inputs give the same bits.

    `bit_exact` is null while the job has not ended, and where there is no result or its data are not known.

    `known` are sentences on what is recorded of its steps and checkpoints and what is no longer kept. `identity` is the
    digest of specification, components, data and environments: results of equal identities have the same bits.
    `changes` are the steps from which another environment continued, and what differed.
    """

    job: str
    sentence: str
    bit_exact: bool | None
    known: list[str]
    identity: str | None
    specification_sha256: str | None
    data: DataRecord | None
    sources: list[SourceRecord]
    attempts: list[AttemptRecord]
    changes: dict[int, list[str]]
    checkpoints: list[CheckpointRecord]
    removed_checkpoints: list[RemovedCheckpoint]
    components: list[ComponentRecord]
