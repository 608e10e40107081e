"""The experts of the digits example, trained with other seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.reporting.protocol import NullReporter
from core.spec import parse_spec, read_mapping
from core.train.fit import fit
from core.train.result import Result

NUM_EXPERTS, SEEDS = 4, range(1, 6)
_EXAMPLES = Path(__file__).parents[2] / "examples" / "digits"


def example(name: str) -> dict[str, Any]:
    """The specification `examples/digits/<name>.yaml`."""
    return read_mapping((_EXAMPLES / f"{name}.yaml").read_text())


def train(spec: dict[str, Any], run_dir: Path) -> Result:
    """Trains on the CPU and reports nothing."""
    return fit(parse_spec(spec), run_dir, reporter=NullReporter(), data_roots=[], device="cpu")


def with_seed(spec: dict[str, Any], seed: int) -> dict[str, Any]:
    """The specification with another seed of training."""
    return spec | {"training": spec["training"] | {"seed": seed}}


def trained_experts(expert: dict[str, Any], seed: int, folder: Path, *, shards: bool) -> list[dict[str, Any]]:
    """Trains four experts, each on its own shard or all on the first, and names their files as a job's `experts`."""
    sources = []
    for k in range(NUM_EXPERTS):
        own = expert | {"expert": expert["expert"] | {"shard": k if shards else 0}}
        train(with_seed(own, 10 * seed + k), folder / f"expert_{k}")
        sources.append({"from": {"path": str(folder / f"expert_{k}/components/experts/expert_0_best.pth")}})
    return sources
