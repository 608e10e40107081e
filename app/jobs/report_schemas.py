"""Explanations and ledgers of jobs as the API shows them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


class Action(BaseModel):
    """Something that a person can do next: a request of the API, and the command that sends it.

    `body` is the JSON to send. Without a request, `method` and `path` are null.
    """

    label: str
    method: str | None
    path: str | None
    command: str
    body: dict[str, Any] | None = None


class Explanation(BaseModel):
    """Why a job is in its state, in a sentence; what that follows from; and what can be done."""

    sentence: str
    evidence: list[str]
    actions: list[Action]


class ControlView(BaseModel):
    """A control of a fusion job by its role; without a job, `absent` says why there is none.

    `single_<k>` is one network of the kind of expert k on all the data, `frozen` the same fusion of experts that are
    not trained further, and `matched` a single network with as many parameters as the fused model. `reused` means that
    the job existed before.
    """

    role: str
    job: str | None
    name: str | None
    state: str | None
    reused: bool
    absent: str | None


class ControlList(BaseModel):
    """The controls of a fusion job; empty if none were requested."""

    items: list[ControlView]


class LedgerRow(BaseModel):
    """The device time of one attempt, and the time that its job waited before it, in device-minutes.

    `silent` is the part after the last report of an attempt that was lost or hung. Of what came before, `redone` is the
    part whose steps were done again later, `useful` the rest; null where that is not known.
    """

    attempt: int
    executor: str
    devices: int
    reason: str | None
    device_minutes: float
    useful: float | None
    redone: float | None
    redone_steps: int | None
    silent: float
    waiting: float


class LedgerTotals(BaseModel):
    """Device-minutes. `unknown` is the time of attempts of which it is not known how much was redone."""

    useful: float
    redone: float
    silent: float
    waiting: float
    unknown: float


class CauseTotals(BaseModel):
    """Device-minutes that one cause has cost."""

    redone: float
    silent: float
    waiting: float


class Ledger(BaseModel):
    """Where the time of a job went. `useful_share` is the useful part of useful, redone, silent and waiting together.

    Causes are reason codes; without one, time in a state counts under its name, and pending in Slurm under `slurm`.
    """

    attempts: list[LedgerRow]
    by_cause: dict[str, CauseTotals]
    totals: LedgerTotals
    useful_share: float | None
