"""The OpenAPI description permits no more than validation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.app.api import EXPERT, Service


def parameters(description: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            for parameter in operation.get("parameters", ()):
                yield f"{method} {path} {parameter['name']}", parameter["schema"]


@pytest.fixture
def description(service: Service) -> dict[str, Any]:
    return dict(service.get("/openapi.json").json())


def test_no_parameter_may_be_null(description: dict[str, Any]) -> None:
    found = dict(parameters(description))
    assert len(found) > 40
    assert [name for name, schema in found.items() if "null" in str(schema)] == []


def test_only_paths_of_a_specification_are_keys_of_a_grid(description: dict[str, Any]) -> None:
    body = description["paths"]["/sweeps"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["grid"]["additionalProperties"] is False


@pytest.mark.parametrize(
    ("name", "value"), [("get /jobs cursor", "a/b"), ("get /jobs/{job_id}/events last-event-id", "null")]
)
def test_what_validation_refuses_by_a_pattern_is_described_by_it(
    service: Service, description: dict[str, Any], name: str, value: str
) -> None:
    method, path, parameter = name.split()
    assert "pattern" in dict(parameters(description))[name]
    options: dict[str, Any] = {"headers" if parameter == "last-event-id" else "params": {parameter: value}}
    answer = service.call(method.upper(), path.format(job_id=service.submit()), **options)
    assert answer.status_code == 422
    assert "must" in answer.json()["errors"][0]["msg"]


def test_an_idempotency_key_is_printable_ascii(service: Service, description: dict[str, Any]) -> None:
    assert dict(parameters(description))["post /jobs idempotency-key"]["pattern"] == "^[ -~]+$"
    for key, status in ((b"a key", 201), (b"\xe9", 422)):
        assert service.post("/jobs", EXPERT, headers={"Idempotency-Key": key}).status_code == status
