"""What the documentation shows to those who write a receiver."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Engine

from app.jobs.webhook_queries import subscribe
from tests.documentation import blocks
from tests.worker.outbox import SECRET, add_job, deliveries, fail_job, send_due, settings_for
from tests.worker.receivers import receiving
from worker.webhooks import signature


def test_the_example_of_the_documentation_tells_genuine_deliveries_from_others(database: Engine) -> None:
    with receiving() as server:
        subscribe(database, settings_for(server.url))
        add_job(database)
        fail_job(database)
        send_due(database, server.url)
    [(headers, content)] = server.received
    [example] = [text for text in blocks("docs/production.md", "python") if "X-MCN-Signature" in text]
    names: dict[str, Any] = {}
    exec(example.replace("the value of MCN_WEBHOOK_SECRET", SECRET), names)
    is_genuine = names["is_genuine"]
    assert is_genuine(headers, content)
    assert not is_genuine(headers, content + b" ")
    assert not is_genuine(headers | {"X-MCN-Timestamp": "1"}, content)
    old = str(int(headers["X-MCN-Timestamp"]) - 3600)
    replayed = {"X-MCN-Timestamp": old, "X-MCN-Signature": signature(SECRET, old, content)}
    assert not is_genuine(replayed, content)
    assert not is_genuine(headers | {"X-MCN-Signature": "sha256=ü"}, content)
    assert not is_genuine({}, content)


def test_the_documentation_shows_a_delivery_with_all_its_fields(database: Engine) -> None:
    subscribe(database, settings_for("http://127.0.0.1:1/"))
    add_job(database)
    fail_job(database)
    [row] = deliveries(database)
    [shown] = [json.loads(text) for text in blocks("docs/production.md", "text") if '"job.state"' in text]
    stored = json.loads(row.body)
    assert list(shown) == list(stored)
    assert set(shown["job"]) == set(stored["job"])
