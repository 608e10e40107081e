from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from app.settings import Settings
from tests.app.api import Service
from tests.app.fixtures import service_on


@pytest.fixture
def any_service(database: Engine, tmp_path: Path) -> Iterator[Service]:
    """The application on a database of each kind."""
    url = database.url.render_as_string(hide_password=False)
    with service_on(Settings(data_dir=tmp_path / "data", database_url=url)) as service:
        yield service
