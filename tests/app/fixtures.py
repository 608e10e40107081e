from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.auth.service import new_token
from app.db import transaction
from app.main import create_app
from app.models import Role
from app.settings import Settings
from tests.app.api import Service


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """The application in this process on an empty SQLite database; no worker."""
    settings = Settings(data_dir=tmp_path / "data")
    application = create_app(settings)
    with TestClient(application, raise_server_exceptions=False) as http:
        secret = (settings.data_dir / "admin-token").read_text().strip()
        made = Service(settings, application, http, {})
        made.tokens["admin"] = secret
        with transaction(application.state.engine) as session:
            for name, role in (("alice", Role.member), ("bob", Role.member), ("eve", Role.viewer)):
                made.tokens[name] = new_token(session, name=name, owner=name, role=role)[1]
        yield made
