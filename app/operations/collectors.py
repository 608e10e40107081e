"""What a scrape reads: the state of jobs, attempts and workers from the database, and that of the event streams.

Whatever the database knows is computed when it is asked for, so that it is the same whichever process answers, and a
worker needs no port of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine
from sqlmodel import Session

from app.db import database_time, now, reading
from app.jobs.usage_queries import total_device_time
from app.models import TERMINAL_STATES, WORKER_TIMEOUT, State
from app.operations import queries
from app.streams.hub import Hub

# A total would fall whenever somebody deletes jobs, which a counter must not.
ENDS_WITHIN = timedelta(hours=1)
EXECUTORS = ("local", "slurm")


class DatabaseCollector(Collector):
    """Jobs, attempts, workers, devices, webhooks and device-hours."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        """The families, read in one transaction."""
        with reading(self._engine) as session:
            yield from _jobs(session)
            yield _ends(session)
            yield _speed(session)
            yield from _workers(session)
            yield _webhooks(session)
            yield _device_hours(session)


class StreamCollector(Collector):
    """The event streams of this process."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def collect(self) -> Iterator[Metric]:
        """The families."""
        subscribers = "Clients that follow an event stream of this process."
        yield GaugeMetricFamily("mcn_stream_subscribers", subscribers, self._hub.num_subscribers)
        events = "Events that were read for the subscribers of streams."
        yield CounterMetricFamily("mcn_stream_events", events, self._hub.num_distributed)


def _gauge(name: str, meaning: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, meaning, labels=labels)


def _jobs(session: Session) -> Iterator[Metric]:
    counts = _gauge("mcn_jobs", "Jobs by executor and state.", "executor", "state")
    ages = _gauge(
        "mcn_job_state_age_seconds",
        "How long the job that has been longest in a state, which is not final, has been in it.",
        *("executor", "state"),
    )
    num_jobs = {(row.executor, row.state): row for row in queries.count_jobs(session)}
    at = now()
    # A state without jobs is zero, not absent: otherwise an alert on it could not tell.
    for executor in sorted({*EXECUTORS, *(executor for executor, _ in num_jobs)}):
        for state in State:
            row = num_jobs.get((executor, state.value))
            counts.add_metric([executor, state.value], row.total if row else 0)
            if state not in TERMINAL_STATES:
                ages.add_metric([executor, state.value], _age_s(row.since if row else None, at))
    yield counts
    yield ages


def _ends(session: Session) -> Metric:
    ends = _gauge("mcn_attempts_ended_last_hour", "Attempts that ended within the last hour.", "outcome", "reason")
    for row in queries.count_ends(session, ENDS_WITHIN):
        ends.add_metric([row.outcome or "", row.reason or ""], row.total)
    return ends


def _speed(session: Session) -> Metric:
    speed = _gauge("mcn_images_per_second", "Images per second of all running jobs, as last reported.", "executor")
    totals = queries.images_per_second(session)
    for executor in sorted({*EXECUTORS, *totals}):
        speed.add_metric([executor], totals.get(executor, 0.0))
    return speed


def _workers(session: Session) -> Iterator[Metric]:
    up = _gauge("mcn_worker_up", "Whether the latest heartbeat of a worker is recent.", "worker")
    ages = _gauge("mcn_worker_heartbeat_age_seconds", "Time since the latest heartbeat of a worker.", "worker")
    devices = _gauge("mcn_devices", "Devices of a worker's machine.", "worker")
    used = _gauge("mcn_devices_in_use", "Devices of a worker's machine that an attempt holds.", "worker")
    slurm = _gauge("mcn_slurm_reachable", "Whether a worker reached Slurm.", "worker")
    rounds = _gauge("mcn_worker_round_seconds", "Duration of a worker's latest round.", "worker", "round")
    lag = _gauge("mcn_ingest_lag_seconds", "Age of the oldest event that a worker read lately.", "worker")
    free = _gauge("mcn_worker_disk_free_bytes", "Free space where a worker's jobs write.", "worker")
    paused = _gauge("mcn_worker_starts_paused", "Whether a full or read-only disk keeps jobs waiting.", "worker")
    leases = queries.count_leases(session)
    # By the clock that heartbeats are recorded by.
    at = database_time(session)
    for row in queries.list_workers(session, at):
        up.add_metric([row.host], at - row.seen_at < WORKER_TIMEOUT)
        ages.add_metric([row.host], _age_s(row.seen_at, at))
        devices.add_metric([row.host], len(row.devices))
        used.add_metric([row.host], leases.get(row.host, 0))
        if row.slurm is not None:
            slurm.add_metric([row.host], bool(row.slurm.get("reachable")))
        if row.disk is not None:
            free.add_metric([row.host], row.disk["free_bytes"])
            paused.add_metric([row.host], row.disk["starts_paused"])
        timings = row.timings or {}
        for kind in ("local", "remote"):
            if f"{kind}_round_s" in timings:
                rounds.add_metric([row.host, kind], timings[f"{kind}_round_s"])
        if "ingest_lag_s" in timings:
            lag.add_metric([row.host], timings["ingest_lag_s"])
    yield from (up, ages, devices, used, free, paused, slurm, rounds, lag)


def _webhooks(session: Session) -> Metric:
    deliveries = _gauge("mcn_webhook_deliveries", "Webhooks that have yet to arrive, or were given up.", "state")
    waiting, given_up = queries.count_webhook_deliveries(session)
    deliveries.add_metric(["waiting"], waiting)
    deliveries.add_metric(["given_up"], given_up)
    return deliveries


def _device_hours(session: Session) -> Metric:
    # Running attempts are left out: one whose start is undone would let the counter fall.
    hours = CounterMetricFamily("mcn_device_hours", "Device-hours of attempts that have ended.", labels=["device"])
    used = total_device_time(session)
    hours.add_metric(["gpu"], used.gpu / 3600)
    hours.add_metric(["cpu"], used.cpu / 3600)
    return hours


def _age_s(since: datetime | None, at: datetime) -> float:
    return max(0.0, (at - since).total_seconds()) if since else 0.0
