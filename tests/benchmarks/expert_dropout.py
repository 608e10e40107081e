"""What expert dropout costs with all experts, and what it saves without one: the digits example, over five seeds.

`python -m tests.benchmarks.expert_dropout` prints the fused test accuracy with all experts and without each. With the
argument `full`, every expert has seen all classes instead of two or three.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.table import Table

from core.reporting.protocol import NullReporter
from core.spec import parse_spec, read_mapping
from core.train.fit import fit
from core.train.result import Result

EXAMPLES = Path(__file__).parents[2] / "examples" / "digits"
NUM_EXPERTS, SEEDS, RATES = 4, range(1, 6), (0.0, 0.3)


def train(spec: dict[str, Any], run_dir: Path) -> Result:
    return fit(parse_spec(spec), run_dir, reporter=NullReporter(), data_roots=[], device="cpu")


def measure(seed: int, folder: Path, *, full: bool) -> dict[float, Result]:
    """Trains the example's experts with seeds of their own, and their fusion with each rate."""
    expert, fusion = (read_mapping((EXAMPLES / f"{name}.yaml").read_text()) for name in ("expert", "fusion"))
    if full:
        dataset = {"name": "digits", "split": {"regime": "full", "holdout": 0.4, "seed": 42}}
        expert, fusion = expert | {"dataset": dataset}, fusion | {"dataset": dataset}
    sources = []
    for k in range(NUM_EXPERTS):
        own = {"expert": expert["expert"] | {"shard": 0 if full else k}}
        train(expert | own | {"training": expert["training"] | {"seed": 10 * seed + k}}, folder / f"expert_{k}")
        sources.append({"from": {"path": str(folder / f"expert_{k}/components/experts/expert_0_best.pth")}})
    spec = fusion | {"experts": sources, "training": fusion["training"] | {"seed": seed}}
    return {
        rate: train(spec | {"fusion": fusion["fusion"] | {"expert_dropout": rate}}, folder / f"fusion_{rate}")
        for rate in RATES
    }


def main() -> None:
    table = Table("seed", "expert_dropout", "all", *(f"without {k}" for k in range(NUM_EXPERTS)), "mean without one")
    means: dict[float, list[tuple[float, float]]] = {rate: [] for rate in RATES}
    for seed in SEEDS:
        with TemporaryDirectory() as folder:
            for rate, result in measure(seed, Path(folder), full="full" in sys.argv[1:]).items():
                everyone = result.metrics["test/accuracy_fused"]
                without = [everyone - loss for loss in result.leave_one_out]
                means[rate].append((everyone, statistics.mean(without)))
                cells = [f"{accuracy:.4f}" for accuracy in (everyone, *without, statistics.mean(without))]
                table.add_row(str(seed), str(rate), *cells)
    for rate, pairs in means.items():
        everyone, without_one = (statistics.mean(values) for values in zip(*pairs, strict=True))
        table.add_row("mean", str(rate), f"{everyone:.4f}", *[""] * NUM_EXPERTS, f"{without_one:.4f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
