"""W&B as a second reporter: it gets everything, offline too, and its failures are one warning."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from core.reporting.alerts import Alert
from core.reporting.event_log import EventLog
from core.reporting.protocol import Fanout
from core.reporting.wandb import WandbReporter
from core.spec import parse_spec
from tests.core.jobs import fusion, run
from tests.core.reporting.silent_wandb import deaf_socket, wandb_server
from tests.parts import wait_until
from tests.silent_server import SilentServer

OFFLINE = {"tracking": {"wandb": {"mode": "offline"}}}
ONLINE = {"tracking": {"wandb": {"mode": "online"}}}
# Of the start and of the end, in these tests; and what a busy machine takes beyond it.
LIMIT_S = 3.0
SLACK_S = 30.0


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))


def test_offline_needs_no_network_and_holds_the_run(tmp_path: Path) -> None:
    failures: list[str] = []
    spec = parse_spec(fusion(epochs=1) | OFFLINE)
    reporter = WandbReporter(spec, tmp_path / "run", on_failure=failures.append)
    result = run(spec, tmp_path / "run", reporter=Fanout([EventLog(tmp_path / "run/events.jsonl"), reporter]))
    reporter.close()
    assert (result.state, failures) == ("succeeded", [])
    files = list((tmp_path / "run").rglob("*.wandb"))
    assert len(files) == 1
    # A process of its own writes the file.
    wait_until(lambda: b"test/accuracy_fused" in files[0].read_bytes(), "the end of W&B's file")
    content = files[0].read_bytes()
    for key in (
        b"lr/experts",
        b"lr/fusion",
        b"lr/head",
        b"train/loss_global",
        b"train/loss_individual",
        b"train/loss_distillation",
        b"lambda",
        b"clipped/experts",
        b"augmentation",
        b"expected_accuracy",
        b"test/accuracy_fused",
    ):
        assert key in content, key


def test_alerts_are_alerts_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[str] = []
    reporter = WandbReporter(parse_spec(fusion(epochs=1) | OFFLINE), tmp_path / "run", on_failure=failures.append)
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(reporter._run, "alert", lambda **given: sent.append(given))
    levels: list[Literal["warning", "error"]] = ["warning", "error"]
    for level in levels:
        Alert("dead_expert", "expert_1 is dead", "since epoch 3", level=level).raise_to(reporter)
    reporter.close()
    assert sent == [{"title": "expert_1 is dead", "text": "since epoch 3", "level": kind} for kind in ("WARN", "ERROR")]
    assert failures == []


def test_without_a_key_online_is_one_warning_and_the_run_goes_on(tmp_path: Path) -> None:
    failures: list[str] = []
    spec = parse_spec(fusion(epochs=1) | ONLINE)
    reporter = WandbReporter(spec, tmp_path / "run", on_failure=failures.append)
    assert run(spec, tmp_path / "run", reporter=reporter).state == "succeeded"
    reporter.close()
    assert len(failures) == 1
    assert "W&B is off for the rest of this run" in failures[0]
    assert "wandb login" in failures[0]


@pytest.mark.parametrize("method", ["log", "finish"])
def test_a_failure_in_the_middle_is_one_warning_and_the_run_goes_on(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[str] = []
    spec = parse_spec(fusion(epochs=1) | OFFLINE)
    reporter = WandbReporter(spec, tmp_path / "run", on_failure=failures.append)

    def fail(*args: Any, **kwargs: Any) -> None:
        raise ConnectionError("the tracker is down")

    whole = reporter._run
    with monkeypatch.context() as patch:
        patch.setattr(type(whole), method, fail)
        assert run(spec, tmp_path / "run", reporter=reporter).state == "succeeded"
        reporter.close()
    whole.finish()
    assert failures == ["W&B is off for the rest of this run: ConnectionError: the tracker is down"]


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A key, and whatever address the test sets."""
    import wandb

    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr("core.reporting.wandb.INIT_LIMIT_S", LIMIT_S)
    monkeypatch.setattr("core.reporting.wandb.FINISH_LIMIT_S", LIMIT_S)
    # It reads the environment once in a process.
    wandb.teardown()
    yield monkeypatch
    wandb.teardown()


@pytest.mark.slow
def test_a_server_that_never_answers_delays_the_start_of_a_run_by_a_bounded_time(
    tmp_path: Path, online: pytest.MonkeyPatch
) -> None:
    failures: list[str] = []
    with contextlib.closing(deaf_socket()) as server:
        online.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        began = time.monotonic()
        reporter = WandbReporter(parse_spec(fusion(epochs=1) | ONLINE), tmp_path / "run", on_failure=failures.append)
        reporter.emit("metrics", {"step": 1, "values": {"a": 1.0}})
        reporter.close()
        waited_s = time.monotonic() - began
        server.setblocking(False)
        server.accept()[0].close()
    assert waited_s < LIMIT_S + SLACK_S
    assert len(failures) == 1
    assert failures[0].startswith("W&B is off for the rest of this run")


@pytest.mark.slow
def test_a_server_that_falls_silent_delays_the_end_of_a_run_by_a_bounded_time(
    tmp_path: Path, online: pytest.MonkeyPatch
) -> None:
    failures: list[str] = []
    with wandb_server() as port, SilentServer(port) as proxy:
        online.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{proxy.port}")
        reporter = WandbReporter(parse_spec(fusion(epochs=1) | ONLINE), tmp_path / "run", on_failure=failures.append)
        assert not failures
        proxy.silent.set()
        began = time.monotonic()
        for step in range(100):
            reporter.emit("metrics", {"step": step, "values": {"a": 1.0}})
        assert time.monotonic() - began < SLACK_S
        reporter.close()
        waited_s = time.monotonic() - began
        proxy.silent.clear()
    assert waited_s < LIMIT_S + SLACK_S
    # What was not uploaded is here.
    assert len(list((tmp_path / "run").rglob("*.wandb"))) == 1
