"""Training processes on this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence
from typing import Any

import psutil
from sqlmodel import Session

from app.db import now
from app.jobs.capacity import Capacity, num_devices, shortfall
from app.jobs.transitions import transition
from app.models import Job, Reason, State
from core.run.protocol import Claim, Outcome, Task
from core.run.rundir import AttemptDir
from worker import queries
from worker.executors.base import Batch, Observation, ProcessState, Submission, TrackedAttempt
from worker.executors.processes import ProcessHandle
from worker.executors.starters import ColdStarter, Starter
from worker.queries import AttemptKey
from worker.time_limit import lead_s

# A process that has not claimed its attempt after this long never will.
START_LIMIT_S = 10.0


class LocalExecutor:
    """One process group per attempt, on leased devices of this machine."""

    is_local = True
    cancel_grace_s = 5.0
    time_limit_signal = "SIGTERM"
    time_limit_tolerance_s = 2.0

    def __init__(self, host: str, capacity: Capacity, starter: Starter | None = None) -> None:
        self._host = host
        self._capacity = capacity
        self._starter = starter or ColdStarter()
        # The end of every attempt's time in seconds since the epoch, and how long before it to stop.
        self._time_limits: dict[AttemptKey, tuple[float, float] | None] = {}

    def status(self) -> dict[str, Any] | None:
        return None

    def next_batch(self, session: Session) -> Batch | None:
        """The first queued job that fits on this machine, once enough devices are free: no later job overtakes it.

        Fails jobs that fit on no machine.
        """
        free = queries.free_devices(session, self._host, self._capacity.devices)
        if not free:
            return None
        for job in queries.queued_jobs(session, "local"):
            resources = job.spec["resources"]
            if self._capacity.fits(resources):
                needed = num_devices(resources)
                if needed > len(free):
                    return None
                if queries.lock_queued(session, job):
                    return self._batch(job, free[:needed])
                # Another worker is claiming it.
                continue
            others = queries.other_machines(session, self._host)
            if not any(machine.fits(resources) for machine in others):
                message = shortfall(resources, [self._capacity, *others])
                transition(session, job.id, State.failed, reason=Reason.code_error, message=message)
        return None

    def _batch(self, job: Job, devices: Sequence[str]) -> Batch:
        resources = job.spec["resources"]
        on_cpu = devices[0].startswith("cpu") or resources["gpus"] == 0
        return Batch(
            [job],
            Submission(
                resources,
                device="cpu" if on_cpu else None,
                devices=devices,
                host=self._host,
                lead_s=lead_s(job.progress, resources["time_limit_min"]),
            ),
        )

    def submit(self, submission: Submission, attempts: Sequence[AttemptDir]) -> Sequence[ProcessHandle | None]:
        [attempt] = attempts
        gpus = [device.partition(":")[0] for device in submission.devices if not device.startswith("cpu")]
        environment = os.environ | {
            "PYTHONUNBUFFERED": "1",
            "CUDA_VISIBLE_DEVICES": ",".join(gpus),
            # Nothing in training uses OpenBLAS; the threads that it starts when it is imported would forbid a fork.
            "OPENBLAS_NUM_THREADS": "1",
        }
        pid = self._starter.start(attempt, environment)
        try:
            return [ProcessHandle.of(pid)]
        except psutil.NoSuchProcess:
            # It has ended already; its claim, if it made one, tells which process it was.
            return [None]

    def is_responsible(self, session: Session) -> bool:
        return True

    def poll(self, attempts: Sequence[TrackedAttempt]) -> dict[AttemptKey, Observation]:
        self._starter.reap()
        observed = {tracked.key: self._observe(tracked) for tracked in attempts}
        for key in self._time_limits.keys() - observed.keys():
            del self._time_limits[key]
        return observed

    def _observe(self, tracked: TrackedAttempt) -> Observation:
        handle = self._handle(tracked)
        if handle is None:
            return Observation(ProcessState.ended if _give_up_start(tracked) else ProcessState.pending)
        if not handle.is_alive():
            # A warm process that is late may still fork a second process: after this it finds the attempt claimed.
            if not Claim.abandoned().try_claim(tracked.dir) and self._handle(tracked) != handle:
                return Observation(ProcessState.pending)
            # Readers of images, for example, which do not notice its end while they are stuck.
            handle.kill_remains(tracked.dir.path)
            late = self._past_time_limit(tracked) and Outcome.read(tracked.dir) is None
            return Observation(ProcessState.ended, handle, reason=Reason.time_limit if late else None)
        self._keep_time_limit(tracked, handle)
        return Observation(ProcessState.alive, handle)

    def _handle(self, tracked: TrackedAttempt) -> ProcessHandle | None:
        stored = tracked.attempt.handle
        handle = None if stored is None else self._restored(stored)
        claim = Claim.read(tracked.dir)
        if claim is not None and (handle is None or handle.pid != claim.pid):
            # The worker that started it died before it could record that, or another process claimed the attempt.
            handle = ProcessHandle(claim.pid, claim.started_at)
        return handle

    def _restored(self, stored: dict[str, Any]) -> ProcessHandle:
        return ProcessHandle.from_json(stored)

    def _keep_time_limit(self, tracked: TrackedAttempt, handle: ProcessHandle) -> None:
        limit = self._time_limit(tracked)
        if limit is None:
            return
        ends_at, lead = limit
        if time.time() >= ends_at:
            handle.kill()
        elif time.time() >= ends_at - lead:
            handle.stop()

    def _past_time_limit(self, tracked: TrackedAttempt) -> bool:
        limit = self._time_limit(tracked)
        return limit is not None and time.time() >= limit[0]

    def _time_limit(self, tracked: TrackedAttempt) -> tuple[float, float] | None:
        if tracked.key not in self._time_limits:
            task = Task.read(tracked.dir)
            limit = None
            if task is not None and task.time_limit_min is not None:
                limit = (tracked.attempt.started_at.timestamp() + 60.0 * task.time_limit_min, float(task.lead_s))
            self._time_limits[tracked.key] = limit
        return self._time_limits[tracked.key]

    def strays(self, attempts: Sequence[TrackedAttempt]) -> Collection[tuple[str, int | None]]:
        return ()

    def cancel_stray(self, name: str, index: int | None) -> None:
        raise AssertionError("a process on this machine is never a stray: its claim decides")

    def kill_leftover(self, tracked: TrackedAttempt) -> None:
        stored = tracked.attempt.handle
        # Its claim may be that of no process, so that none starts late.
        handle = self._handle(tracked) if stored is None else self._restored(stored)
        if handle is not None:
            handle.kill()
            handle.kill_remains(tracked.dir.path)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self._starter.close()


def _give_up_start(tracked: TrackedAttempt) -> bool:
    """Whether to give up on an attempt without a known process: the worker may have died while starting it."""
    if (now() - tracked.attempt.started_at).total_seconds() < START_LIMIT_S:
        return False
    # A process that was started after all, and comes late, finds the attempt claimed and exits.
    return Claim.abandoned().try_claim(tracked.dir)
