from __future__ import annotations

from collections.abc import Callable, Iterator
from io import StringIO

import httpx
import pytest

from app.cli.client import Api
from app.cli.terminal import SafeConsole
from tests.app.api import EXPERT, Service
from tests.app.cli.attempts import submit_with_two_attempts
from tests.app.cli.conftest import Cli, Handler

HOSTILE = b"\x1b]0;title\x07\x1b[31mred\x1b[0m \xc2\x9b2J \xe2\x80\xae\r\nsecond \xff\n"


@pytest.fixture
def hostile_log(service: Service) -> str:
    job_id = submit_with_two_attempts(service, EXPERT)
    (service.settings.runs_dir / job_id / "attempt-1" / "log.txt").write_bytes(HOSTILE)
    return job_id


def test_the_log_of_an_earlier_attempt_can_be_printed(cli: Cli, service: Service) -> None:
    job_id = submit_with_two_attempts(service, EXPERT)
    result = cli("logs", job_id)
    assert (result.stdout, result.stderr) == ("", "Attempt 2 has no output; `--attempt 1` prints the previous one.\n")
    assert cli("logs", job_id, "--attempt", "1").stdout == "first\n"
    result = cli("logs", job_id, "--attempt", "3")
    assert (result.exit_code, "attempt 3" in result.stderr) == (2, True)


def test_a_piped_log_has_the_raw_bytes(cli: Cli, hostile_log: str) -> None:
    assert cli("logs", hostile_log, "--attempt", "1").stdout_bytes == HOSTILE


def test_a_log_on_a_terminal_is_sanitized(cli: Cli, hostile_log: str, monkeypatch: pytest.MonkeyPatch) -> None:
    console = SafeConsole(file=StringIO(), force_terminal=True, width=80)
    monkeypatch.setattr("app.cli.terminal.out", console)
    assert cli("logs", hostile_log, "--attempt", "1").exit_code == 0
    assert console.file.getvalue() == "red  \\u202e\nsecond \ufffd\n"  # type: ignore[attr-defined]


class BrokenStream(httpx.SyncByteStream):
    """The first line of a log, after which the connection breaks."""

    def __iter__(self) -> Iterator[bytes]:
        yield b"first\n"
        raise httpx.ReadError("connection reset")


def test_the_end_of_a_log_is_printed_though_the_job_ended_while_the_connection_was_lost(
    offline: Cli, fake_api: Callable[[Handler], Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = [httpx.Response(200, stream=BrokenStream()), httpx.Response(200, text="first\nlast\n")]

    def handle(request: httpx.Request) -> httpx.Response:
        return streams.pop(0) if request.url.path.endswith("/logs") else httpx.Response(200, json={"state": "failed"})

    api = fake_api(handle)
    monkeypatch.setattr("app.cli.terminal.Api", lambda *_: api)
    result = offline("logs", "job_1", "--follow")
    assert (result.exit_code, result.stdout) == (0, "first\nfirst\nlast\n")
    assert "The connection was lost. Continuing with the last 20 lines:" in result.stderr
