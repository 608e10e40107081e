"""The application as an object of its process."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app import main
from app.settings import Settings


def test_an_application_is_freed_with_its_last_use(tmp_path: Path) -> None:
    app = main.create_app(Settings(data_dir=tmp_path))
    with TestClient(app) as client:
        assert client.get("/healthz").is_success
        assert client.get("/docs").status_code == 401
    freed = weakref.ref(app)
    del app, client
    gc.collect()
    assert freed() is None


def test_only_an_application_with_a_process_of_its_own_changes_the_garbage_collector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen: list[str] = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append("frozen"))
    monkeypatch.setattr(main, "configure_logging", lambda _settings: None)
    monkeypatch.setenv("MCN_DATA_DIR", str(tmp_path))
    with TestClient(main.create_app(Settings())):
        assert frozen == []
    with TestClient(main.create_app()):
        assert frozen == ["frozen"]
