"""What the application says and refuses in headers, and the order of its checks."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

import pytest

from tests.app.api import EXPERT, Service

BODIES: dict[str, Any] = {
    "/jobs": EXPERT,
    "/sweeps": {"base": EXPERT, "grid": {"training.seed": [1]}},
    "/tokens": {"name": "x"},
}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("path", list(BODIES))
def test_a_body_in_another_encoding_than_utf8_is_refused(shared_service: Service, path: str, encoding: str) -> None:
    body = json.dumps(BODIES[path])
    answer = shared_service.post(path, body.encode(encoding))
    assert answer.status_code == 422, answer.text
    assert "UTF-8" in answer.json()["detail"]
    assert shared_service.post(path, body.encode()).status_code == 201


def test_duplicate_host_and_authorization_headers_are_refused(service: Service) -> None:
    token = f"Bearer {service.tokens['admin']}".encode()
    once = [(b"host", b"testserver"), (b"authorization", token)]
    assert service.http.get("/me", headers=once).status_code == 200
    for header in once:
        answer = service.http.get("/me", headers=[*once, header])
        assert answer.status_code == 400
        assert answer.json()["type"] == "bad-request"


@pytest.mark.parametrize("path", ["/me", "/jobs/job_x", "/healthz", "/docs", "/static/docs/swagger-ui.css", "/nothing"])
@pytest.mark.parametrize("user", ["admin", None])
def test_every_response_has_the_security_headers(shared_service: Service, path: str, user: str | None) -> None:
    headers = shared_service.get(path, user).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


def test_an_error_of_the_service_is_a_problem_with_the_security_headers(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(service.app, "openapi", fails)
    answer = service.get("/openapi.json")
    assert (answer.status_code, answer.json()["type"]) == (500, "internal")
    assert "secret" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_docs_page_permits_its_own_script_and_no_other(service: Service) -> None:
    page = service.get("/docs")
    policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
    [script] = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy["script-src"] == f"'self' 'sha256-{digest}'"
    assert policy["default-src"] == "'none'"


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/jobs", "GET, POST, OPTIONS"),
        ("/jobs/job_x", "GET, DELETE, OPTIONS"),
        ("/jobs/job_x/cancel", "POST, OPTIONS"),
        ("/jobs/job_x/components/expert_0", "GET, HEAD, OPTIONS"),
        ("/tokens", "GET, POST, OPTIONS"),
        ("/tokens/tok_x", "DELETE, OPTIONS"),
        ("/healthz", "GET, OPTIONS"),
    ],
)
def test_options_and_405_name_the_methods_of_the_path(shared_service: Service, path: str, allowed: str) -> None:
    answer = shared_service.call("OPTIONS", path)
    assert (answer.status_code, answer.headers["allow"], answer.content) == (204, allowed, b"")
    refused = shared_service.call("PATCH", path)
    assert (refused.status_code, refused.headers["allow"]) == (405, allowed)
    assert refused.json()["type"] == "method-not-allowed"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/tokens", b"{"),
        ("POST", "/jobs/job_x/retry", b"{"),
        ("GET", "/jobs?unknown=1", b""),
        ("GET", "/jobs?limit=ten", b""),
        ("GET", "/nothing", b""),
        ("PATCH", "/jobs", b""),
        ("OPTIONS", "/jobs", b""),
        ("POST", "/jobs", b"x" * (2 << 20)),
    ],
)
def test_authentication_comes_before_every_other_check(
    shared_service: Service, method: str, path: str, body: bytes
) -> None:
    answer = shared_service.call(method, path, user=None, content=body)
    assert answer.status_code == 401
    assert shared_service.call(method, path, content=body).status_code != 401
