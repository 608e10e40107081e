from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests import selection
from tests.machine import missing

pytest_plugins = [
    "tests.parts",
    "tests.slurm.fixtures",
    "tests.app.fixtures",
    "tests.e2e.fixtures",
    "tests.web.fixtures",
]


class OneCluster(LoadScopeScheduling):  # type: ignore[misc]
    """Tests with Slurm go to one process, which needs one cluster; those with a browser or with faults to one service.

    (xdist's own groups do nothing: xdist#1386.)
    """

    def _split_scope(self, nodeid: str) -> str:
        for folder in ("tests/slurm/", "tests/web/browser/", "tests/faults/test_short.py"):
            if nodeid.startswith(folder):
                return folder
        return nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneCluster:
    return OneCluster(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    selection.mark(items)


@pytest.fixture(autouse=True, scope="module")
def _frozen_leftovers() -> None:
    """Keeps collections of garbage short: they do not look again at what earlier modules have left in caches.

    Libraries keep something of every application. At the end of thousands of tests, a full collection of it took longer
    than a transaction may stand still.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _no_child_processes(request: pytest.FixtureRequest, _one_thread: None) -> Iterator[None]:
    """Keeps the marker `processes` true: a test without it cannot start a process.

    After `_one_thread`, since importing torch starts one.
    """
    if request.node.get_closest_marker(selection.MARKER):
        yield
        return
    with selection.forbidden() as refused:
        yield
    assert refused == [], f"mark this test with @pytest.mark.{selection.MARKER}"


@pytest.fixture(autouse=True)
def _one_thread(request: pytest.FixtureRequest) -> None:
    """Two test processes share two cores; more threads would only wait for one another."""
    if "tests/core" in str(request.path):
        import torch

        torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _restored_umask() -> Iterator[None]:
    """The service sets the umask of its process, which here is that of all tests."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for part, package in missing().items():
        terminalreporter.write_line(f"Skipped: the tests with {part}, which is not installed (Debian: {package}).")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In continuous integration, a missing part is a failure."""
    # Libraries complain about what is left when the process ends.
    gc.unfreeze()
    if os.environ.get("CI") == "true" and missing():
        session.exitstatus = 1
