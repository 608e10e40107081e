from __future__ import annotations

import pytest
from sqlalchemy import Engine

from app.db import transaction
from app.models import Job


@pytest.fixture
def engine(database: Engine) -> Engine:
    with transaction(database) as session:
        session.add(Job(id="job_1", kind="expert", name="", state="running", owner="x", spec={}, defaulted=[]))
    return database
