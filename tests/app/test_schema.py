"""Every operation of the OpenAPI description: no 5xx and no status that is not described, whatever is sent."""

from __future__ import annotations

import json
import os
from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck

from tests.app.api import EXPERT, Service
from tests.app.description import load

SOAK = bool(os.environ.get("MCN_SOAK"))
EXAMPLES = 200 if SOAK else 12


@pytest.fixture
def described(service: Service) -> Any:
    service.submit(EXPERT)
    return load(service, service.get("/openapi.json").json())


def test_nothing_sent_by_the_description_breaks_the_service(service: Service, described: Any) -> None:
    operations = [operation.ok() for operation in described.get_all_operations()]
    assert len(operations) > 20
    headers = {"Authorization": f"Bearer {service.tokens['admin']}"}
    for operation in operations:
        if operation.path in ("/tokens/{token_id}", "/events"):
            continue  # the one would revoke the token of this test, the other is a stream without an end

        @hypothesis.settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            derandomize=False,
        )
        @hypothesis.given(case=operation.as_strategy())
        def one(case: Any) -> None:
            # Streams go on until a job has ended.
            if case.query:
                case.query.pop("follow", None)
            answer = service.http.request(
                case.method,
                case.formatted_path,
                params={key: value for key, value in (case.query or {}).items() if value is not None},
                headers=headers | {"Content-Type": "application/json"},
                content=_content(case.body),
            )
            described_statuses = set(case.operation.definition.raw["responses"])
            status = str(answer.status_code)
            assert answer.status_code < 500, (case.method, case.formatted_path, answer.text)
            assert status in described_statuses or f"{status[0]}XX" in described_statuses, (case.path, status)
            if answer.status_code >= 400:
                assert answer.headers["content-type"] == "application/problem+json"

        one()


def _content(body: Any) -> bytes | None:
    if body is None or type(body).__name__ == "NotSet":
        return None
    try:
        return json.dumps(body).encode()
    except (TypeError, ValueError, UnicodeEncodeError):
        return repr(body).encode("utf-8", "replace")
