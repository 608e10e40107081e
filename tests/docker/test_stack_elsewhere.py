"""What docs/production.md says of other machines: HTTPS for users there, and workers there."""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.docker import page
from tests.docker.files import PRODUCTION
from tests.docker.stack import IMAGE, LIMIT_S, Stack, engine_says
from tests.docker.test_stack import endless
from tests.e2e.running import expert
from tests.parts import wait_until

pytestmark = pytest.mark.docker

NAME = "https://mcn.example.org"
# In place of the page's address in a private network.
PRIVATE, HERE = "10.0.0.1", "127.0.0.87"
# The deadline of the proxy for a request's headers, in app/supervisor/Caddyfile.
HEADERS_LIMIT_S = 10.0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Stack]:
    made = Stack.for_module(tmp_path_factory, request)
    try:
        made.check_out(None)
        made.run(*page.lines("Production")[:2])
        yield made
    finally:
        made.remove()


def test_users_elsewhere_reach_it_by_https(stack: Stack) -> None:
    if engine_says("image", "inspect", "caddy:2") is None:
        pytest.skip("the engine has no image caddy:2: docker pull caddy:2")
    with stack.step("HTTPS added to running containers"):
        stack.run(*(line.replace(NAME, "https://localhost") for line in page.lines("HTTPS")))
    [copy_authority] = re.findall(r"`(docker compose cp [^`]*)`", PRODUCTION)
    wait_until(lambda: stack.runs(copy_authority), "a certificate", LIMIT_S)
    trusted = ssl.create_default_context(cafile=str(stack.folder / "root.crt"))
    url = f"https://localhost:{stack.tls_port}"
    with stack.api() as api:
        job_id = api.post("/jobs", endless())["id"]
    token = stack.run("docker compose exec -T api cat /data/admin-token").strip()
    with httpx.Client(base_url=url, verify=trusted, headers={"Authorization": f"Bearer {token}"}) as client:
        assert client.get("/readyz").status_code == 200
        # A stream outlives the deadline for headers, and no event waits in the proxy.
        start = time.monotonic()
        with client.stream("GET", "/events", timeout=60.0) as events:
            assert events.headers["content-type"].startswith("text/event-stream")
            for _ in events.iter_lines():
                if time.monotonic() - start > HEADERS_LIMIT_S + 3:
                    break
        assert client.post(f"/jobs/{job_id}/cancel").is_success
    _has_a_deadline_for_headers(stack, trusted)


def _has_a_deadline_for_headers(stack: Stack, trusted: ssl.SSLContext) -> None:
    plain = socket.create_connection(("127.0.0.1", stack.tls_port), timeout=HEADERS_LIMIT_S + 20)
    with trusted.wrap_socket(plain, server_hostname="localhost") as connection:
        connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        start = time.monotonic()
        assert b"200" not in connection.recv(1000)
        assert time.monotonic() - start > HEADERS_LIMIT_S / 2


def test_a_worker_on_another_machine_trains(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> None:
    *publish, up = [line.replace(PRIVATE, HERE) for line in page.lines("Several machines")]
    stack.run(*publish)
    stack.read_too("docker-compose.override.yml")
    stack.run(up, "docker compose stop worker")
    other = Stack(tmp_path_factory.mktemp("other"), stack.say, project="mcn-test-other")
    other.remove()
    try:
        other.check_out(None)
        password = (stack.folder / ".env").read_text().splitlines()[0]
        (other.folder / ".env").write_text(f"{password}\nMCN_SERVER={HERE}\nMCN_WORKER=elsewhere\n")
        # It shares the volume in place of a file system, and reaches what this machine publishes.
        volume = f"{{data: {{external: true, name: {stack.project}_data}}}}"
        (other.folder / "shared.yml").write_text(f"services: {{worker: {{network_mode: host}}}}\nvolumes: {volume}\n")
        build, start = page.lines("Several machines", 2)
        assert build == "docker compose build api"
        assert engine_says("image", "inspect", IMAGE)
        other.read_too("shared.yml")
        with stack.step("start of a worker on another machine"):
            other.run(start)
        assert "ok  worker elsewhere" in other.run("docker compose exec -T worker mcn doctor --worker")
        with stack.api() as api:
            job_id = api.post("/jobs", expert())["id"]
        assert stack.wait_ended(job_id) == "succeeded"
        assert [one["host"] for one in stack.attempts(job_id)] == ["elsewhere"]
        assert stack.run("docker compose exec -T redis redis-cli -e ping") == "PONG\n"
        assert not stack.runs("docker compose exec -T -e REDISCLI_AUTH= redis redis-cli -e ping")
    finally:
        other.remove()
