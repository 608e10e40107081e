from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.e2e.running import Proof, Running


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One service for all tests of a test process that leave it running."""
    service = Running(tmp_path_factory.mktemp("up") / "data")
    service.start()
    yield service
    service.stop()
    for process in service.training():
        process.kill()


class Undisturbed:
    """The proof of an undisturbed job of each kind, trained when a test first needs it."""

    def __init__(self, up: Running) -> None:
        self._up = up
        self._proofs: dict[str, Proof] = {}
        self.jobs: dict[str, str] = {}
        # From submission to end.
        self.seconds: dict[str, float] = {}

    def __getitem__(self, kind: str) -> Proof:
        if kind not in self._proofs:
            spec, began = self._up.spec(kind), time.monotonic()
            job_id = self._up.submit(spec)
            assert self._up.wait(job_id)["state"] == "succeeded"
            self.seconds[kind] = time.monotonic() - began
            self.jobs[kind] = job_id
            self._proofs[kind] = self._up.proof(job_id)
        return self._proofs[kind]


@pytest.fixture(scope="session")
def undisturbed(up: Running) -> Undisturbed:
    """Components and results of undisturbed jobs, to compare with those of disturbed ones."""
    return Undisturbed(up)
