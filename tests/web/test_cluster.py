"""The page of the cluster: devices, queue, Slurm, device-hours."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from app.db import now, transaction
from app.models import Attempt, Lease, State, Worker
from tests.app.api import EXPERT, FUSION, Service
from tests.app.sweeps.sweeping import create, measure, statements, sweep
from tests.web.test_sweeps import read, text_of

SLURM = {
    "version": "23.11",
    "reachable": True,
    "max_array_size": 1001,
    "partitions": [
        {
            "name": "gpu",
            "default": True,
            "up": True,
            "time_limit": "1-00:00:00",
            "nodes": {"idle": 2, "drained": 1},
            "gres": ["gpu:4"],
        }
    ],
}


def add(service: Service, *rows: Any) -> None:
    with transaction(service.app.state.engine) as session:
        for row in rows:
            session.add(row)
            session.flush()


def worker(host: str, devices: list[str], age_s: float = 0.0, **more: Any) -> Worker:
    seen_at = now() - timedelta(seconds=age_s)
    return Worker(host=host, devices=devices, cpus=8, memory_gb=64.0, seen_at=seen_at, **more)


def test_an_empty_service_says_what_to_do(service: Service) -> None:
    html = read(service, "/ui/cluster")
    assert "No worker has been heard from yet" in html
    assert "The queue is empty" in html
    assert "Nothing has run in the last 30 days" in read(service, "/ui/-/cluster/usage")
    assert "Slurm" not in text_of(html.partition("<main")[2]).replace("hands jobs to Slurm", "")


def test_devices_show_their_jobs_and_what_these_report(service: Service) -> None:
    job_id = service.submit(EXPERT | {"name": "<b>busy</b>"})
    progress = {"epoch": 1, "epochs": 4, "step": 30, "steps": 120, "images_per_s": 412.4, "eta_s": 90.0}
    service.transition(job_id, State.starting, State.running, progress=progress)
    for key, value in (("system/gpu_util", 87.0), ("system/gpu_mem_gb", 12.34), ("system/rss_gb", 3.0)):
        measure(service, job_id, key, value)
    attempt = Attempt(job_id=job_id, number=1, executor="local", host="one", devices=["0"])
    lease = Lease(host="one", device="0", job_id=job_id, attempt=1)
    add(service, worker("one", ["0", "1"]), worker("<i>two</i>", ["cpu:0"], age_s=100), attempt, lease)
    html = read(service, "/ui/cluster")
    assert "<b>busy" not in html
    assert "<i>two" not in html
    assert f'data-progress-of="{job_id}"' in html
    text = text_of(html)
    assert "<b>busy</b>" in text
    assert "25 % 1 min 30 s 412 87 % 12.3 GiB 3.0 GiB" in text
    assert "1 of 2 devices in use · 8 cores · 64 GiB" in text
    assert "<i>two</i> offline" in text
    assert "one online" in text
    fragment = read(service, "/ui/-/cluster")
    assert fragment.strip().startswith('<div id="cluster-live"')
    assert "Device-hours" not in fragment


def test_a_machine_without_work_says_what_to_start(service: Service) -> None:
    add(service, worker("one", ["0", "1"]), worker("two", ["0"], age_s=100))
    text = text_of(read(service, "/ui/cluster"))
    assert "0 of 2 devices in use · 0 jobs queued" in text
    assert "2 devices are free. Start a job: mcn demo" in text
    assert re.search(r"one online · heard \d+ s ago", text)
    assert "two offline · heard 1 min ago" in text
    assert text.count("Start it again with mcn up on that machine") == 1


def test_the_queue_is_in_order_and_every_job_has_its_sentence(service: Service) -> None:
    first = service.submit(EXPERT | {"name": "ordinary"})
    service.submit(EXPERT | {"name": "urgent", "priority": 5})
    spec = FUSION | {"name": "dependent", "experts": [{"from": {"job": first, "component": "expert_0"}}], "num_experts": 1}  # fmt: skip  # noqa: E501
    service.submit(spec)
    text = text_of(read(service, "/ui/cluster"))
    queue = text[text.index("Queue") :]
    assert queue.index("urgent") < queue.index("ordinary") < queue.index("Waiting for other jobs")
    assert queue.count("No worker has ever been heard from") == 2
    assert "It waits for ordinary" in queue[queue.index("dependent") :]


def test_workers_and_their_devices_are_read_once_for_the_whole_queue(service: Service) -> None:
    add(service, worker("one", ["0"]))
    numbers = []
    for count in (1, 5):
        for _ in range(count):
            service.submit()
        with statements(service) as executed:
            read(service, "/ui/cluster")
        numbers.append([sum(f"FROM {table}" in text for text in executed) for table in ("workers", "leases", "sweeps")])
    assert numbers[0] == numbers[1]


def test_jobs_of_a_sweep_that_wait_for_the_same_reason_are_one_entry(service: Service) -> None:
    sweep_id = create(service, sweep({"training.seed": list(range(25))}))["id"]
    html = read(service, "/ui/cluster")
    assert "19 more jobs of its sweep" in text_of(html)
    assert "and 5 more behind them" in text_of(html)
    assert f'href="/ui/jobs?sweep={sweep_id}&amp;state=queued"' in html


def test_slurm_has_partitions_pending_jobs_and_faults(service: Service) -> None:
    pending, running = service.submit(), service.submit()
    service.transition(pending, State.starting, executor="slurm", attempt=1, message="pending in Slurm: Resources")
    service.transition(running, State.starting, State.running, executor="slurm", attempt=1)
    slurm: dict[str, Any] = {"executor": "slurm", "devices": []}
    add(
        service,
        worker("login", [], slurm=SLURM),
        Attempt(job_id=pending, number=1, host="", slurm_job_id="77_1", **slurm),
        Attempt(job_id=running, number=1, host="node1", slurm_job_id="78", **slurm),
        Attempt(job_id=running, number=2, host="node2", ended_at=now(), reason="hardware_fault", **slurm),
    )
    text = text_of(read(service, "/ui/cluster"))
    assert "It has no devices of its own: it hands jobs to Slurm." in text
    assert "gpu default up 1-00:00:00 2 idle, 1 drained gpu:4" in text
    assert "77_1 pending in Slurm: Resources" in text
    assert "node1 #78" in text
    assert text.index("node2 1 1") < text.index("node1 1 0")


def test_a_silent_controller_is_said_in_words(service: Service) -> None:
    add(service, worker("login", ["0"], slurm=SLURM | {"reachable": False, "partitions": []}))
    assert "its controller is not responding" in text_of(read(service, "/ui/cluster"))


def test_device_hours_are_listed_by_owner(service: Service) -> None:
    job_id = service.submit(user="alice")
    start = now() - timedelta(hours=2)
    attempt = Attempt(job_id=job_id, number=1, executor="local", host="one", devices=["0"], started_at=start, ended_at=now())  # fmt: skip  # noqa: E501
    add(service, attempt)
    # Adding them up takes long, so the page comes without them and loads them afterwards.
    html = read(service, "/ui/cluster")
    assert 'hx-get="/ui/-/cluster/usage" hx-trigger="load"' in html
    assert "alice 2.00" not in text_of(html)
    for path in ("/ui/-/cluster/usage", "/ui/cluster?usage=now"):
        html = read(service, path)
        assert 'href="/ui/jobs?owner=alice"' in html
        assert "alice 2.00 1 1" in text_of(html)
