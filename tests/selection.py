"""What `make test-fast` leaves out, and a guard that stops every other test from starting a child process."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from unittest.mock import patch

import pytest

MARKER = "processes"
# Fixtures that start processes; a test that uses one of them carries the marker by itself.
FIXTURES = {"up", "postgres_server", "redis_url", "slurm_cluster"}
# Folders and files whose tests start processes throughout.
PROCESS_PATHS = (
    "tests/app/jobs/test_dispatch.py",
    "tests/benchmarks/",
    "tests/core/model/test_meta.py",
    "tests/core/reporting/test_wandb.py",
    "tests/core/test_distributed.py",
    "tests/core/test_kill.py",
    "tests/core/test_streaming.py",
    "tests/docker/",
    "tests/e2e/",
    "tests/faults/test_runs.py",
    "tests/faults/test_short.py",
    "tests/slurm/",
    "tests/web/browser/",
    "tests/web/test_scripts.py",
    "tests/web/test_vendor.py",
    "tests/worker/executors/test_starters.py",
    "tests/worker/training/test_slurm_task.py",
)
# Paths whose tests take long: they train, try many requests, or wait for others.
SLOW_PATHS = (
    "tests/app/auth/test_auth.py",
    "tests/app/auth/test_throttle.py",
    "tests/app/cli/test_exit_codes.py",
    "tests/app/http/test_concurrent_requests.py",
    "tests/app/http/test_guarded_protocol.py",
    "tests/app/http/test_slow_clients.py",
    "tests/app/http/test_unread_bodies.py",
    "tests/app/jobs/test_list_queries.py",
    "tests/app/operations/backup/",
    "tests/app/operations/retention/",
    "tests/app/results/predictions/test_comparison.py",
    "tests/app/results/report/",
    "tests/app/streams/test_replay.py",
    "tests/app/sweeps/test_ranking.py",
    "tests/app/sweeps/test_reuse.py",
    "tests/app/sweeps/test_routes.py",
    "tests/app/test_migrations.py",
    "tests/app/test_request_sequences.py",
    "tests/app/test_schema.py",
    "tests/core/references/",
    "tests/core/test_cli.py",
    "tests/core/test_digits.py",
    "tests/core/train/test_alerts.py",
    "tests/core/train/test_fit.py",
    "tests/core/train/test_oracle.py",
    "tests/core/train/test_predictions.py",
    "tests/core/train/test_run_identity.py",
    "tests/faults/test_checker.py",
    "tests/web/test_cluster.py",
    "tests/web/test_new_job.py",
    "tests/web/test_new_sweep.py",
    "tests/web/test_sweeps.py",
    "tests/worker/test_early_stopping.py",
    "tests/worker/test_hangs.py",
    "tests/worker/test_lost_workers.py",
    "tests/worker/test_webhook_example.py",
    "tests/worker/test_webhooks.py",
    "tests/worker/test_webhooks_given_up.py",
)
_EVENTS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.exec", "os.system"}


class ProcessStarted(AssertionError):  # noqa: N818
    """A test without the marker started a child process."""


class _Guard:
    """Refuses the start of child processes of this process while it is armed, and remembers them."""

    def __init__(self) -> None:
        self.armed_in: int | None = None
        self.refused: list[str] = []
        # An audit hook sees every way to start a process; it cannot be removed again.
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if event in _EVENTS and self.armed_in == os.getpid():
            self.refuse(f"{event}{arguments[:2]!r}")

    def refuse(self, what: str) -> None:
        """Notes the start and raises; code that catches the error does not hide it."""
        self.refused.append(what[:200])
        raise ProcessStarted(f"this test starts a process ({what[:200]}): mark it with @pytest.mark.{MARKER}")


_guard = _Guard()


@contextmanager
def forbidden() -> Iterator[list[str]]:
    """While this is active, no child process can be started; gives the list of those that were refused."""

    def start(process: BaseProcess) -> None:
        _guard.refuse(f"multiprocessing {process.name}")

    _guard.armed_in, _guard.refused = os.getpid(), []
    try:
        # Spawned processes of multiprocessing raise no audit event.
        with patch.object(BaseProcess, "start", start):
            yield _guard.refused
    finally:
        _guard.armed_in = None


def mark(items: Sequence[pytest.Item]) -> None:
    """Gives the markers `processes` and `slow` to tests by their paths and fixtures, and long tests all the time."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        # Parametrised fixtures that start PostgreSQL say so in the test's name.
        if item.nodeid.startswith(PROCESS_PATHS) or FIXTURES & fixtures or "[postgresql" in item.name:
            item.add_marker(MARKER)
        if item.nodeid.startswith(SLOW_PATHS):
            item.add_marker("slow")
        # They are meant to run for long, and somebody watches them.
        if item.get_closest_marker("docker") or item.get_closest_marker("soak"):
            item.add_marker(pytest.mark.timeout(0))
