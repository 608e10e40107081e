"""What expert dropout costs with all experts, and what it saves without one: the digits example, over five seeds.

`python -m tests.benchmarks.expert_dropout` prints the fused test accuracy with all experts and without each. With the
argument `full`, every expert has seen all classes instead of two or three.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from core.train.result import Result
from tests.benchmarks.digits_experts import NUM_EXPERTS, SEEDS, example, train, trained_experts, with_seed

RATES = (0.0, 0.3)


def measure(seed: int, folder: Path, *, full: bool) -> dict[float, Result]:
    """Trains the example's experts with seeds of their own, and their fusion with each rate."""
    expert, fusion = example("expert"), example("fusion")
    if full:
        dataset = {"name": "digits", "split": {"regime": "full", "holdout": 0.4, "seed": 42}}
        expert, fusion = expert | {"dataset": dataset}, fusion | {"dataset": dataset}
    spec = with_seed(fusion | {"experts": trained_experts(expert, seed, folder, shards=not full)}, seed)
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
