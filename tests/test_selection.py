"""`make test-fast` starts no child process: the guard that every test without the marker runs under."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import selection

WAYS: dict[str, Callable[[], object]] = {
    "subprocess": lambda: subprocess.run([sys.executable, "-c", ""]),
    "fork": os.fork,
    "system": lambda: os.system("true"),
    "spawn": lambda: os.posix_spawn(sys.executable, [sys.executable, "-c", ""], {}),
    "multiprocessing": lambda: multiprocessing.get_context("spawn").Process(target=print).start(),
}


@pytest.mark.processes
@pytest.mark.parametrize("way", WAYS)
def test_no_way_to_start_a_process_passes_the_guard(way: str) -> None:
    with selection.forbidden() as refused, pytest.raises(selection.ProcessStarted, match="mark it with"):
        WAYS[way]()
    assert len(refused) == 1


@pytest.mark.processes
def test_processes_start_again_after_the_guard() -> None:
    with selection.forbidden():
        pass
    assert subprocess.run([sys.executable, "-c", ""]).returncode == 0


def test_a_test_without_the_marker_runs_under_the_guard() -> None:
    assert selection._guard.armed_in == os.getpid()


@pytest.mark.parametrize("path", [*selection.PROCESS_PATHS, *selection.SLOW_PATHS])
def test_every_path_of_the_selection_exists(path: str) -> None:
    assert (Path(__file__).parents[1] / path).exists()


def test_a_test_with_a_fixture_that_starts_a_process_gets_the_marker(request: pytest.FixtureRequest) -> None:
    for item in request.session.items:
        if selection.FIXTURES & set(getattr(item, "fixturenames", ())):
            assert item.get_closest_marker(selection.MARKER), item.nodeid
