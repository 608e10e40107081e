"""What an engine says of the files without building an image; `make docker-test` has the rest."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docker import page
from tests.docker.files import ROOT, SERVICES
from tests.docker.stack import BASES, Stack, engine_says

PASSWORD = {"MCN_DB_PASSWORD": "secret"}


def config(*words: str, **environment: str) -> dict[str, Any]:
    """The project as Compose understands it; skips the test where Compose is not installed."""
    if engine_says("compose", "version") is None:
        pytest.skip("Docker Compose is not installed")
    command = ["docker", "compose", "--project-directory", str(ROOT), "-f", str(ROOT / "docker-compose.yml"), *words]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MCN_", "COMPOSE_"))}
    done = subprocess.run(
        [*command, "config", "--format", "json"], env=clean | PASSWORD | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_compose_understands_the_file_as_these_tests_do() -> None:
    services = config(COMPOSE_PROFILES="tls")["services"]
    assert set(services) == set(SERVICES)
    for name, service in SERVICES.items():
        understood = services[name]
        for key in ("image", "read_only", "tmpfs", "cap_drop", "security_opt", "hostname", "pull_policy", "restart"):
            assert understood.get(key) == service.get(key), (name, key)
        given = {key: value for key, value in service.get("environment", {}).items() if value is not None}
        assert {key: understood["environment"][key] for key in given} == given
        assert set(understood.get("depends_on", ())) == set(service.get("depends_on", ()))


def test_compose_refuses_the_file_without_a_password() -> None:
    with pytest.raises(AssertionError, match=r"MCN_DB_PASSWORD.*set it in \.env"):
        config(MCN_DB_PASSWORD="")


@pytest.fixture
def databases(tmp_path: Path) -> Iterator[Stack]:
    """The two services whose images are not built; skips the test where they would have to be fetched."""
    if engine_says("compose", "version") is None or engine_says("image", "inspect", *BASES) is None:
        pytest.skip(f"no Docker engine has the images {', '.join(BASES)}")
    stack = Stack(tmp_path, print, project="mcn-test-databases")
    stack.remove()
    stack.check_out(None)
    stack.run(page.lines("Production")[0])
    try:
        yield stack
    finally:
        stack.remove()


def test_the_database_is_backed_up_and_restored_by_the_lines_of_the_page(databases: Stack) -> None:
    sql = "docker compose exec -T postgres psql -U mcn mcn -qtAc"
    start, load, *_ = page.lines("Back up and restore", 1)
    databases.run(f"{start} redis", f"{sql} 'CREATE TABLE kept AS SELECT 42 AS value'")
    databases.run(page.lines("Back up and restore")[0], "docker compose down -v", start, load)
    assert databases.run(f"{sql} 'SELECT value FROM kept'") == "42\n"
