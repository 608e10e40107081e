from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from contextlib import nullcontext
from io import StringIO
from pathlib import Path

import httpx
import pytest
import torch
from safetensors.torch import save

from app.cli import download as module
from app.cli.client import Api, ApiError
from app.cli.download import download, progress_bar
from app.cli.terminal import SafeConsole
from tests.app.cli.conftest import Handler, run_mcn

CONTENT = bytes(range(256)) * 40
FakeApi = Callable[[Handler], Api]


def serve(name: str = "expert_0_best.pth", content: bytes = CONTENT, of: bytes = CONTENT) -> Handler:
    """Answers with `content`, under the digest of the content `of`."""
    digest = base64.b64encode(hashlib.sha256(of).digest()).decode()
    headers = {
        "etag": '"abc"',
        "content-disposition": f'attachment; filename="{name}"',
        "repr-digest": f"sha-256=:{digest}:",
    }

    def handler(request: httpx.Request) -> httpx.Response:
        start = int(request.headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        status = 206 if "range" in request.headers else 200
        return httpx.Response(status, headers=headers, content=content[start:])

    return handler


def test_an_interrupted_download_is_resumed(fake_api: FakeApi, tmp_path: Path) -> None:
    (tmp_path / "expert_0_best.pth.abc.part").write_bytes(CONTENT[:1000])
    progress: list[tuple[int, int]] = []
    file = download(fake_api(serve()), "/c", tmp_path, format="pth", on_bytes=lambda *at: progress.append(at))
    assert (file.name, file.read_bytes()) == ("expert_0_best.pth", CONTENT)
    assert (progress[0], progress[-1]) == ((1000, len(CONTENT)), (len(CONTENT), len(CONTENT)))


def test_experts_of_a_complete_model_are_requested_and_the_file_is_named_after_them(
    fake_api: FakeApi, tmp_path: Path
) -> None:
    queries: list[str] = []
    answer = serve("complete_fusion_best-experts-0-2.safetensors")

    def handler(request: httpx.Request) -> httpx.Response:
        queries.append(request.url.query.decode())
        return answer(request)

    file = download(fake_api(handler), "/c", tmp_path, format="safetensors", experts="0,2")
    assert (file.name, file.read_bytes()) == ("complete_fusion_best-experts-0-2.safetensors", CONTENT)
    assert set(queries) == {"format=safetensors&experts=0%2C2"}


@pytest.mark.parametrize(("accuracy", "measured"), [(0.875, "0.8750"), (None, "not measured")])
def test_the_accuracy_of_a_model_with_some_experts_is_printed(
    fake_api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accuracy: float | None, measured: str
) -> None:
    config = {"role": "complete", "present_experts": [0, 2], "test_accuracy": accuracy}
    content = save({"weight": torch.ones(2)}, {"config": json.dumps(config)})
    handler = serve("small.safetensors", content, content)
    monkeypatch.setattr(module, "connected", lambda: nullcontext(fake_api(handler)))
    command = ("download", "job_1", "complete", "--experts", "0,2", "-o", str(tmp_path))
    lines = run_mcn(*command).stdout.splitlines()
    assert lines[0].startswith(str(tmp_path / "small.safetensors"))
    assert lines[1:] == [f"fused test accuracy with experts 0,2: {measured}"]
    shown = json.loads(run_mcn(*command, "--json").stdout)
    assert shown == {
        "file": str(tmp_path / "small.safetensors"), "bytes": len(content), "test_accuracy": accuracy,
    }  # fmt: skip


def test_damaged_content_is_refused_and_removed(fake_api: FakeApi, tmp_path: Path) -> None:
    with pytest.raises(ApiError, match="SHA-256 differs"):
        download(fake_api(serve(content=CONTENT[::-1])), "/c", tmp_path, format="pth")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["..", "../x", "", ".bashrc", "a b", "a\x1b[2J"])
def test_only_a_plain_file_name_is_accepted_from_the_service(fake_api: FakeApi, tmp_path: Path, name: str) -> None:
    with pytest.raises(ApiError, match="not a plain file name"):
        download(fake_api(serve(name)), "/c", tmp_path, format="pth")


def test_a_terminal_shows_bytes_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    console = SafeConsole(file=StringIO(), force_terminal=True, width=100)
    monkeypatch.setattr(module, "out", console)
    with progress_bar("expert_0", enabled=True) as on_bytes:
        for done in (0, 1_000_000, 2_000_000):
            on_bytes(done, 4_000_000)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "expert_0" in shown
    assert "2.0/4.0 MB" in shown
    assert "B/s" in shown
    assert "0:00:" in shown


def test_nothing_is_shown_outside_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    console = SafeConsole(file=StringIO(), width=100)
    monkeypatch.setattr(module, "out", console)
    with progress_bar("expert_0", enabled=False) as on_bytes:
        on_bytes(1, 2)
    assert console.file.getvalue() == ""  # type: ignore[attr-defined]
