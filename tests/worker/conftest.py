from __future__ import annotations

import pytest

from tests.app.api import Service
from tests.worker.fake_executor import FakeExecutor


@pytest.fixture
def executor(service: Service, monkeypatch: pytest.MonkeyPatch) -> FakeExecutor:
    made = FakeExecutor(service.context.capacity)
    monkeypatch.setitem(service.context.executors, "local", made)
    return made
