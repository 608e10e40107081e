"""The OpenAPI description against the application: no 5xx and no answer that is not described, whatever is sent."""

from __future__ import annotations

import os
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck

from tests.app.api import EXPERT, Service

EXAMPLES = 200 if os.environ.get("MCN_SOAK") else 12


@pytest.fixture
def described(service: Service) -> Any:
    service.submit(EXPERT)
    description = service.get("/openapi.json").json()
    loaded = schemathesis.openapi.from_dict(description)
    loaded.app = service.app
    return loaded


def test_nothing_sent_by_the_description_breaks_the_service(service: Service, described: Any) -> None:
    operations = [operation.ok() for operation in described.get_all_operations()]
    assert len(operations) > 20
    headers = {"Authorization": f"Bearer {service.tokens['admin']}"}
    for operation in operations:
        if operation.path == "/tokens/{token_id}":
            continue  # it would revoke the token of this test

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
    import json

    if body is None or type(body).__name__ == "NotSet":
        return None
    try:
        return json.dumps(body).encode()
    except (TypeError, ValueError, UnicodeEncodeError):
        return repr(body).encode("utf-8", "replace")
