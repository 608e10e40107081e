"""Nudges: messages without arguments, sent after the commit, that make a worker act at once."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from queue import Empty

import pytest
from celery import Celery
from kombu.exceptions import OperationalError

from app.jobs.dispatch import QUEUE, _send, celery_config, nudger
from app.models import State
from app.settings import Settings
from app.supervisor.up import commands
from tests.app.api import EXPERT, FUSION, Service
from tests.parts import wait_until

ROOT = Path(__file__).parents[3]


def received_nudges(settings: Settings) -> list[tuple[str, list[object]]]:
    """Takes all messages from the embedded broker once everything has been sent; see `take_messages`."""
    assert nudger.flush(60.0)
    return take_messages(settings)


def take_messages(settings: Settings) -> list[tuple[str, list[object]]]:
    """Takes the messages that are in the embedded broker now: the name and the arguments of each."""
    app = Celery(set_as_current=False)
    app.conf.update(celery_config(settings))
    messages = []
    with app.connection_for_read() as connection:
        queue = connection.SimpleQueue(QUEUE)
        try:
            while True:
                message = queue.get(block=False)
                message.ack()
                args, kwargs, _ = json.loads(message.body)
                messages.append((message.headers["task"], [*args, *kwargs]))
        except Empty:
            return messages


def test_every_change_that_a_worker_must_act_on_sends_a_nudge_without_arguments(service: Service) -> None:
    job_id = service.submit()
    assert received_nudges(service.settings) == [("start", [])]
    service.transition(job_id, State.starting, State.running)
    for verb, nudge, then in (
        ("pause", "monitor", State.paused),
        ("resume", "start", State.starting),
        ("cancel", "monitor", State.cancelled),
        ("retry", "start", State.starting),
    ):
        assert service.post(f"/jobs/{job_id}/{verb}").status_code == 202
        assert received_nudges(service.settings) == [(nudge, [])], verb
        service.transition(job_id, then)
    sweep = service.post("/sweeps", {"base": EXPERT, "grid": {"training.seed": [1, 2]}}).json()
    assert received_nudges(service.settings) == [("start", [])]
    service.post(f"/sweeps/{sweep['id']}/cancel")
    assert received_nudges(service.settings) == [("monitor", [])]


def test_what_changes_nothing_for_the_workers_sends_no_nudge(service: Service) -> None:
    job_id = service.submit()
    received_nudges(service.settings)
    service.post("/jobs?dry_run=true", EXPERT)
    waiting = FUSION | {"experts": [{"from": {"job": job_id, "component": "expert_0"}}] * 2}
    assert service.post("/jobs", waiting).json()["state"] == "waiting"
    assert service.post("/jobs", b"{").status_code == 422
    assert service.post(f"/jobs/{job_id}/retry").status_code == 409
    assert received_nudges(service.settings) == []


def test_an_unreachable_broker_does_not_fail_a_submission(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unreachable(*_args: object, **_options: object) -> None:
        raise ConnectionRefusedError("connection refused")

    monkeypatch.setattr("celery.Celery.send_task", unreachable)
    assert service.post("/jobs", EXPERT).status_code == 201
    assert nudger.flush(60.0)
    assert "the broker is not reachable" in caplog.text


# Connections to a server that accepts them and never answers; the nudge is what the service sends to its workers.
SUBMIT_AND_EXIT = """
import socket, sys, time
from app.jobs import dispatch
from app.settings import Settings
server = socket.create_server(("127.0.0.1", 0))
settings = Settings(broker_url=f"redis://127.0.0.1:{server.getsockname()[1]}/0")
for _ in range(100):
    dispatch.nudger.submit(settings, "start")
connection, _ = server.accept()
print("connected", flush=True)
"""


def test_a_process_can_end_while_its_broker_is_silent(tmp_path: Path) -> None:
    environment = os.environ | {"MCN_DATA_DIR": str(tmp_path)}
    command = [sys.executable, "-c", SUBMIT_AND_EXIT]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "connected\n"), done.stderr


def test_a_silent_broker_is_given_up_on_soon(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"redis://127.0.0.1:{server.getsockname()[1]}/0"
        began = time.monotonic()
        with pytest.raises(OperationalError, match="Timeout"):
            _send(Settings(data_dir=tmp_path, broker_url=url), "start")
        # With the limits of a worker it takes more than five seconds.
        assert time.monotonic() - began < 5.0


def test_a_worker_never_sees_half_a_message(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    put_in_place, seen = os.replace, []

    def look_first(source: Path, target: Path) -> None:
        if target.suffix == ".msg":
            # The whole message is on the disk, under a name that no worker takes.
            assert json.loads(source.read_bytes())["body"]
            seen.append(take_messages(service.settings))
        put_in_place(source, target)

    monkeypatch.setattr(os, "replace", look_first)
    service.submit()
    assert received_nudges(service.settings) == [("start", [])]
    assert seen == [[]]


def test_two_processes_that_start_at_once_never_see_half_a_file_of_bindings(service: Service) -> None:
    app = Celery(set_as_current=False)
    app.conf.update(celery_config(service.settings))
    with app.connection_for_write() as connection, ThreadPoolExecutor() as threads:
        channel, other = connection.channel(), connection.channel()
        with channel._locked_bindings():
            # Kombu creates the file before it writes it.
            (channel.control_folder / "new.exchange").touch()
            reader = threads.submit(other.get_table, "new")
            binder = threads.submit(other._queue_bind, "new", "key", None, "queue")
            assert wait([reader, binder], timeout=0.5).done == set()
            (channel.control_folder / "new.exchange").write_text("[]")
        binder.result()
        assert reader.result() in ([], other.get_table("new"))
        assert [binding.queue for binding in other.get_table("new")] == ["queue"]


def is_failed(service: Service, job_id: str) -> bool:
    return bool(service.get(f"/jobs/{job_id}").json()["state"] == "failed")


@pytest.mark.processes
def test_a_worker_acts_on_a_submission_long_before_its_next_reconciliation(service: Service) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MCN_")}
    environment |= {"MCN_DATA_DIR": str(service.settings.data_dir), "MCN_RECONCILE_S": "86400", "MCN_DEVICES": "cpu"}
    with (service.settings.data_dir / "worker.log").open("wb") as log:
        command = commands(service.settings)["worker"]
        worker = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        # The worker fails a job that fits no machine as soon as it looks at the queue: nothing has to be trained.
        # It may see the first job in the reconciliation at its start, but the second one only because of the nudge.
        for limit_s in (240.0, 240.0):
            job_id = service.submit(EXPERT | {"resources": {"cpus": 1024}})
            began = time.monotonic()
            wait_until(partial(is_failed, service, job_id), "the worker's response to a nudge", limit_s)
            print(f"seen after {time.monotonic() - began:.2f} s")
    finally:
        worker.terminate()
        worker.wait(60)
