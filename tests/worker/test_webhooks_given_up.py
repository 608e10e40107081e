"""When webhooks are no longer sent, and what says so."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest
from sqlalchemy import Engine, update

from app.db import database_time, reading, transaction
from app.jobs.webhook_queries import clean_up_deliveries, subscribe
from app.models import WebhookDelivery
from tests.app.api import Service
from tests.worker.outbox import add_job, deliveries, fail_job, make_due, send_due, settings_for
from tests.worker.receivers import receiving
from worker.reconcile import clean_up_webhooks


def test_after_two_days_a_delivery_is_given_up_and_logged_once(
    database: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    with receiving(*[503] * 3) as server:
        url = server.url.replace("http://", "http://user:password@")
        subscribe(database, settings_for(url))
        add_job(database)
        fail_job(database)
        with transaction(database) as session:
            early = database_time(session) - timedelta(days=1, hours=22, minutes=59)
            session.execute(update(WebhookDelivery).values(created_at=early, attempts=20))
        send_due(database, url)
        [row] = deliveries(database)
        with reading(database) as session:
            assert timedelta(minutes=59) < row.next_at - database_time(session) <= timedelta(hours=1)
        with transaction(database) as session:
            late = database_time(session) - timedelta(days=1, hours=23, minutes=1)
            session.execute(update(WebhookDelivery).values(created_at=late))
        for _ in range(2):
            make_due(database)
            send_due(database, url)
    [row] = deliveries(database)
    assert row.given_up_at is not None
    assert len(server.received) == 2
    [record] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    message = record.getMessage()
    assert "given up after 22 attempts: the answer was 503" in message
    assert "password" not in message
    assert "/hooks" not in message


def test_deliveries_to_an_address_that_was_taken_out_are_given_up_and_forgotten(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    engine = service.app.state.engine
    subscribe(engine, settings_for("http://127.0.0.1:1/old"))
    add_job(engine)
    fail_job(engine)
    clean_up_webhooks(service.context)
    assert [row.given_up_at for row in deliveries(engine)] == [None]
    with transaction(engine) as session:
        early = database_time(session) - timedelta(days=3)
        session.execute(update(WebhookDelivery).values(created_at=early))
    with transaction(engine) as session:
        assert clean_up_deliveries(session, ["http://127.0.0.1:1/old"]) == 0
    clean_up_webhooks(service.context)
    clean_up_webhooks(service.context)
    assert [row.given_up_at is None for row in deliveries(engine)] == [False]
    assert [record.getMessage() for record in caplog.records if "given up" in record.getMessage()] == [
        "1 webhooks were given up: their addresses are not in MCN_WEBHOOK_URL any more"
    ]
    with transaction(engine) as session:
        session.execute(update(WebhookDelivery).values(given_up_at=database_time(session) - timedelta(days=8)))
    clean_up_webhooks(service.context)
    assert deliveries(engine) == []
