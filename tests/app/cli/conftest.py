from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner, Result

from app.cli.client import Api
from app.cli.main import app as mcn
from app.settings import Settings
from tests.app.api import Service

Cli = Callable[..., Result]
Handler = Callable[[httpx.Request], httpx.Response]


def run_mcn(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(mcn, list(arguments), input=stdin)


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs `mcn` without a service, for commands that never send a request."""
    monkeypatch.setenv("MCN_DATA_DIR", str(tmp_path))
    return run_mcn


@pytest.fixture
def cli(service: Service, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs `mcn` against the application in this process, with the width of a pipe."""
    monkeypatch.delenv("COLUMNS", raising=False)
    service.http.headers["Authorization"] = f"Bearer {service.tokens['admin']}"
    monkeypatch.setattr(httpx, "Client", lambda **_: service.http)
    monkeypatch.setattr(Api, "close", lambda _: None)
    return run_mcn


@pytest.fixture
def fake_api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Handler], Api]:
    """An API connection whose requests are answered by a function, with no delay before a repeated request."""
    monkeypatch.setattr("app.cli.client.RETRY_DELAY_S", 0.0)

    def connect(handler: Handler) -> Api:
        api = Api(Settings(data_dir=tmp_path, token="mcn_test", url="http://service"))
        api._http = httpx.Client(base_url=api.url, transport=httpx.MockTransport(handler))
        return api

    return connect
