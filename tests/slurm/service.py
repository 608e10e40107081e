"""The running service with a Slurm cluster behind it, and jobs that fit there."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.e2e.running import Running, expert, fusion
from tests.slurm.cluster import Cluster
from worker.context import WorkerContext
from worker.executors.slurm.executor import SlurmExecutor


def slurm_of(context: WorkerContext) -> SlurmExecutor:
    """The Slurm executor of a worker."""
    executor = context.executors["slurm"]
    assert isinstance(executor, SlurmExecutor)
    return executor


def on_slurm(spec: dict[str, Any], *, cpus: int = 1, **resources: Any) -> dict[str, Any]:
    """A specification for Slurm, with a time limit of five minutes and no GPU by default."""
    slurm = {"partition": "low", **resources.pop("slurm", {})}
    common = {"executor": "slurm", "cpus": cpus, "gpus": 0, "memory_gb": 1, "time_limit_min": 5}
    return spec | {"resources": common | resources | {"slurm": slurm}}


def slow_fusion(epochs: int = 60) -> dict[str, Any]:
    """The fusion job of the other tests."""
    return fusion(epochs=epochs)


def quick() -> dict[str, Any]:
    """A job that is over soon."""
    return expert(epochs=1)


def service_on(cluster: Cluster, data_dir: Path) -> Running:
    """A service whose worker talks to the cluster."""
    environment = {key: value for key, value in cluster.env.items() if key.startswith("SLURM")}
    return Running(data_dir, **environment)


def lab_service(cluster: Cluster) -> Iterator[Running]:
    """A started service on the cluster, in a folder of its own: pytest's are for their owner alone."""
    folder = Path(tempfile.mkdtemp(prefix="mcn-lab-"))
    service = service_on(cluster, folder / "data")
    service.start()
    yield service
    service.stop()
    shutil.rmtree(folder, ignore_errors=True)
