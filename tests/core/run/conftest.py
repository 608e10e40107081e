from __future__ import annotations

import pytest


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treats files as old enough to trust their times, however young they are."""
    monkeypatch.setattr("core.run.content._SETTLED_S", -1.0)
