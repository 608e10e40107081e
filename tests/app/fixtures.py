from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine
from ulid import ULID

from app.auth.service import new_token
from app.db import make_engine, transaction, upgrade
from app.main import create_app
from app.models import Role
from app.settings import Settings
from tests.app.api import Service


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty SQLite database with all migrations: copying it takes a tenth of the time of migrating."""
    file = tmp_path_factory.mktemp("migrated") / "mcn.db"
    upgrade(f"sqlite:///{file}")
    return file


@pytest.fixture(scope="session")
def migrated_postgres(postgres_server: str) -> str:
    """The name of an empty PostgreSQL database with all migrations, to be used as a template."""
    name = f"template{ULID()}".lower()
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    upgrade(f"{postgres_server.replace('postgresql://', 'postgresql+psycopg://').rpartition('/')[0]}/{name}")
    return name


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A migrated, empty database of each kind."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("migrated_sqlite"), tmp_path / "mcn.db")
        url = f"sqlite:///{tmp_path}/mcn.db"
    else:
        template = request.getfixturevalue("migrated_postgres")
        server = str(request.getfixturevalue("postgres_server"))
        name = f"t{ULID()}".lower()
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        url = f"{server.replace('postgresql://', 'postgresql+psycopg://').rpartition('/')[0]}/{name}"
    engine = make_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def service(tmp_path: Path, migrated_sqlite: Path) -> Iterator[Service]:
    """The application in this process on an empty SQLite database; no worker."""
    with _service(tmp_path, migrated_sqlite) as service:
        yield service


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: Path) -> Iterator[Service]:
    """One application for all tests of a module, for those that change nothing that another one sees."""
    with _service(tmp_path_factory.mktemp("shared"), migrated_sqlite) as service:
        yield service


@contextmanager
def _service(folder: Path, migrated_sqlite: Path) -> Iterator[Service]:
    settings = Settings(data_dir=folder / "data")
    settings.make_folders()
    shutil.copy(migrated_sqlite, settings.data_dir / "mcn.db")
    with service_on(settings) as service:
        yield service


@contextmanager
def service_on(settings: Settings) -> Iterator[Service]:
    """The application in this process, with tokens for users of every role."""
    application = create_app(settings)
    with TestClient(application, raise_server_exceptions=False) as http:
        tokens = {"admin": (settings.data_dir / "admin-token").read_text().strip()}
        with transaction(application.state.engine) as session:
            for name, role in (("alice", Role.member), ("bob", Role.member), ("eve", Role.viewer)):
                tokens[name] = new_token(session, name=name, owner=name, role=role)[1]
        yield Service(settings, application, http, tokens)
