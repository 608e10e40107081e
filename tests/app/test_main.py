"""The application as an object of its process."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

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
