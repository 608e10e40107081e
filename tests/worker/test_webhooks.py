"""Webhooks as a receiver sees them: signed, repeated until they have arrived, and never in the way of anything else."""

from __future__ import annotations

import hashlib
import hmac
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError
from sqlmodel import Session, select

from app.db import database_time, iso, make_engine, reading, transaction
from app.jobs import webhook_queries
from app.jobs.webhook_queries import LEASE, subscribe
from app.models import Event, State
from tests.app.api import Service
from tests.parts import wait_until
from tests.worker.fake_executor import FakeExecutor, job_of, started
from tests.worker.outbox import SECRET, add_job, deliveries, fail_job, make_due, send_due, settings_for
from tests.worker.receivers import receiving, silent
from worker import webhooks
from worker.reconcile import monitor_local
from worker.webhooks import WebhookSender


@pytest.fixture
def short_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Receivers have a fifth of a second."""
    monkeypatch.setattr(webhooks, "SEND_LIMIT_S", 0.2)


def test_a_receiver_can_verify_who_sent_what(database: Engine) -> None:
    with receiving() as server:
        subscribe(database, settings_for(server.url))
        add_job(database)
        fail_job(database)
        send_due(database, server.url)
        send_due(database, server.url)
    [request] = server.received
    with reading(database) as session:
        event = session.exec(select(Event)).one()
    signed = request.headers["X-MCN-Timestamp"].encode() + b"." + request.content
    expected = "sha256=" + hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    assert request.headers["X-MCN-Signature"] == expected
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["X-MCN-Delivery"] == request.body["id"] == f"job_1-{event.id}"
    assert request.body == {
        "id": f"job_1-{event.id}",
        "type": "job.state",
        "time": iso(event.time),
        "job": {
            "id": "job_1",
            "name": "ünï",
            "kind": "expert",
            "state": "failed",
            "reason": "code_error",
            "message": "it broke",
            "attempt": 2,
            "owner": "alice",
            "sweep": None,
        },
    }
    assert deliveries(database) == []


def test_a_failing_receiver_gets_it_again_and_then_once(database: Engine) -> None:
    with receiving(500, 404, 302) as server:
        subscribe(database, settings_for(server.url))
        add_job(database)
        fail_job(database)
        waits = []
        for _ in range(3):
            send_due(database, server.url)
            # It is not due yet.
            send_due(database, server.url)
            [row] = deliveries(database)
            with reading(database) as session:
                waits.append((row.next_at - database_time(session)).total_seconds())
            make_due(database)
        send_due(database, server.url)
        make_due(database)
        send_due(database, server.url)
    assert len(server.received) == 4
    assert len({(request.content, request.headers["X-MCN-Delivery"]) for request in server.received}) == 1
    assert deliveries(database) == []
    assert all(planned - 4 < wait <= planned for wait, planned in zip(waits, (5, 10, 20), strict=True)), waits


@pytest.mark.parametrize("trickle", [False, True], ids=["never answers", "answers byte by byte"])
def test_sending_ends_at_its_time_limit(database: Engine, short_limit: None, trickle: bool) -> None:
    with silent(trickle=trickle) as server:
        subscribe(database, settings_for(server.url))
        add_job(database)
        fail_job(database)
        send_due(database, server.url)
    [row] = deliveries(database)
    assert (row.attempts, row.given_up_at) == (1, None)


def test_a_receiver_that_never_answers_delays_neither_a_job_nor_other_receivers(
    service: Service, executor: FakeExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Within this limit nothing below can wait for the silent receiver unnoticed.
    monkeypatch.setattr(webhooks, "SEND_LIMIT_S", 600.0)
    engine = service.app.state.engine
    with silent() as dead, receiving() as server:
        settings = settings_for(dead.url, server.url, webhook_states="starting,succeeded,failed")
        subscribe(engine, settings)
        sender = WebhookSender(engine, settings)
        sender.start()
        job_id = service.submit()
        pid = started(service, job_id)
        assert dead.connected.wait(60)
        executor.living.pop(pid)
        monitor_local(service.context)
        assert job_of(service, job_id)["state"] == "queued"
        started(service, job_id)
        service.transition(job_id, State.succeeded)
        wait_until(lambda: len(deliveries(engine)) == 3, "the deliveries to the other receiver")
        assert len(server.received) == 3
        assert [(row.address, row.attempts) for row in deliveries(engine)] == [
            (dead.url, attempts) for attempts in (1, 0, 0)
        ]
        sender.stop(0.0)
    # The connection is closed: the thread of the silent receiver ends too.
    sender.stop(60.0)


def test_killed_between_sending_and_marking_it_sends_the_same_delivery_again(
    database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(BaseException):
        pass

    def kill(*_: object) -> None:
        raise KilledError

    with receiving() as server:
        subscribe(database, settings_for(server.url))
        add_job(database)
        fail_job(database)
        with monkeypatch.context() as patched:
            patched.setattr(webhook_queries, "mark_delivered", kill)
            with pytest.raises(KilledError):
                send_due(database, server.url)
        # Its lease is not over.
        send_due(database, server.url)
        assert len(server.received) == 1
        [row] = deliveries(database)
        with reading(database) as session:
            assert row.next_at - database_time(session) <= LEASE
        make_due(database)
        send_due(database, server.url)
    first, second = server.received
    assert first.content == second.content
    assert first.headers["X-MCN-Delivery"] == second.headers["X-MCN-Delivery"]
    assert deliveries(database) == []


def test_workers_that_send_at_the_same_time_send_everything_once(database: Engine) -> None:
    total = 20
    with receiving() as server:
        subscribe(database, settings_for(server.url))
        for number in range(total):
            add_job(database, f"job_{number}")
            fail_job(database, f"job_{number}")
        engines = [make_engine(database.url.render_as_string(hide_password=False)) for _ in range(3)]
        with ThreadPoolExecutor(len(engines)) as pool:
            for done in [pool.submit(send_due, engine, server.url) for engine in engines]:
                done.result()
        for engine in engines:
            engine.dispose()
    ids = [request.body["id"] for request in server.received]
    assert (len(ids), len(set(ids))) == (total, total)
    assert deliveries(database) == []


def test_a_sender_goes_on_after_what_is_wrong_on_its_side(
    database: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    problems: list[Exception] = [OperationalError("SELECT", {}, Exception("gone")), RuntimeError("a defect")]
    look = webhook_queries.has_due_delivery

    def has_due_delivery(session: Session, address: str) -> bool:
        if problems:
            raise problems.pop(0)
        return look(session, address)

    monkeypatch.setattr(webhook_queries, "has_due_delivery", has_due_delivery)
    monkeypatch.setattr(webhooks, "RETRY_INTERVAL_S", 0.0)
    with receiving() as server:
        settings = settings_for(server.url)
        subscribe(database, settings)
        add_job(database)
        fail_job(database)
        sender = WebhookSender(database, settings)
        sender.start()
        wait_until(lambda: not deliveries(database), "the delivery")
        sender.stop(60.0)
    assert len(server.received) == 1
    assert [record.levelname for record in caplog.records if record.name == webhooks.__name__] == ["WARNING", "ERROR"]


def test_a_worker_that_stops_finishes_what_it_is_sending(database: Engine) -> None:
    arrived, go_on = threading.Event(), threading.Event()
    with receiving() as server, ThreadPoolExecutor(1) as pool:

        def answer_late() -> None:
            arrived.set()
            assert go_on.wait(60)

        server.before_answer = answer_late
        subscribe(database, settings_for(server.url))
        add_job(database)
        fail_job(database)
        sender = WebhookSender(database, settings_for(server.url))
        sender.start()
        assert arrived.wait(60)
        stopped = pool.submit(sender.stop, 60.0)
        go_on.set()
        stopped.result()
        assert deliveries(database) == []


def test_a_redirect_is_a_failure_that_is_not_followed(database: Engine) -> None:
    with receiving(307, 302) as server:
        subscribe(database, settings_for(server.url))
        add_job(database)
        fail_job(database)
        for requests in (1, 2):
            send_due(database, server.url)
            assert len(server.received) == requests
            assert [row.attempts for row in deliveries(database)] == [requests]
            make_due(database)


def test_a_worker_whose_lease_is_over_does_not_undo_what_the_next_one_found(database: Engine) -> None:
    subscribe(database, settings_for("http://127.0.0.1:1/"))
    add_job(database)
    fail_job(database)
    claims = []
    for _ in range(2):
        make_due(database)
        with transaction(database) as session:
            claims.append(webhook_queries.claim_delivery(session, "http://127.0.0.1:1/"))
    [before] = deliveries(database)
    first, second = claims
    assert first is not None
    assert second is not None
    with transaction(database) as session:
        assert not webhook_queries.mark_failed(session, first)
    assert [row.next_at for row in deliveries(database)] == [before.next_at]
    with transaction(database) as session:
        webhook_queries.mark_delivered(session, second)
        assert not webhook_queries.mark_failed(session, first)
    assert deliveries(database) == []


def test_proxies_of_the_environment_are_not_used(database: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as server, receiving() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        subscribe(database, settings_for(server.url))
        add_job(database)
        fail_job(database)
        send_due(database, server.url)
    assert (len(server.received), len(proxy.received)) == (1, 0)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://no-such-host.invalid/", "http://a..b/"])
def test_what_cannot_be_reached_is_tried_again(database: Engine, url: str) -> None:
    subscribe(database, settings_for(url))
    add_job(database)
    fail_job(database)
    send_due(database, url)
    [row] = deliveries(database)
    assert (row.attempts, row.given_up_at) == (1, None)
