from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.machine import PARTS
from tests.parts import need
from tests.slurm.cluster import Cluster, cluster


@pytest.fixture(scope="session")
def slurm_cluster() -> Iterator[Cluster]:
    """A Slurm cluster, for all tests of one process."""
    programs, _ = PARTS["Slurm"]
    for program in programs.split():
        need("Slurm", program)
    with cluster() as running:
        yield running


@pytest.fixture
def slurm(slurm_cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, idle; a test may leave jobs in it and parts of it dead."""
    yield slurm_cluster
    slurm_cluster.restore()
