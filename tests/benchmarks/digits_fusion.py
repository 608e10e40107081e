"""What fusion brings on the digits example, over five seeds, beside every control that the example has.

`python -m tests.benchmarks.digits_fusion` prints test accuracies: four experts that each know some of the digits, fused
while frozen and after joint training, and one network of their kind on all the data.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import stats

from tests.benchmarks.digits_experts import NUM_EXPERTS, SEEDS, example, train, trained_experts, with_seed

FUSED, SINGLE = "fused", "one network on all the data"


def measure(seed: int, folder: Path) -> dict[str, dict[str, float]]:
    """Test accuracies by row of the table, with frozen experts and after joint training."""
    experts = trained_experts(example("expert"), seed, folder, shards=True)

    def fused(name: str, sources: list[dict[str, object]]) -> dict[str, float]:
        return train(with_seed(example(name) | {"experts": sources}, seed), folder / name).metrics

    columns = {"frozen": fused("fusion_frozen", experts), "joint": fused("fusion", experts)}
    # The expert that is best alone, as in the example.
    control = fused("one_expert", experts[-1:])["test/accuracy_fused"]
    single = train(with_seed(example("all_data"), seed), folder / "all_data").metrics["test/accuracy_expert_0"]
    rows = {
        "best expert alone": {
            name: max(metrics[f"test/accuracy_expert_{k}"] for k in range(NUM_EXPERTS))
            for name, metrics in columns.items()
        },
        "ensemble (mean probabilities)": {
            name: metrics["test/accuracy_ensemble_probabilities"] for name, metrics in columns.items()
        },
        "one frozen expert with its own MLP": {"frozen": control},
        SINGLE: dict.fromkeys(columns, single),
        FUSED: {name: metrics["test/accuracy_fused"] for name, metrics in columns.items()},
    }
    return rows


def main() -> None:
    """Prints mean and standard deviation over the seeds, and the differences of fusion with 95 % t intervals."""
    measured: list[dict[str, dict[str, float]]] = []
    for seed in SEEDS:
        with TemporaryDirectory() as folder:
            measured.append(measure(seed, Path(folder)))
    table = Table("test accuracy", "experts frozen", "after joint training", "fused minus this (frozen)", "(joint)")
    for row in measured[0]:
        cells, differences = [], []
        for column in ("frozen", "joint"):
            values = np.array([of_seed[row].get(column, np.nan) for of_seed in measured])
            fused = np.array([of_seed[FUSED][column] for of_seed in measured])
            known = bool(np.isfinite(values).all())
            cells.append(f"{values.mean():.3f} ± {values.std(ddof=1):.3f}" if known else "")
            differences.append(_interval(fused - values) if known and row != FUSED else "")
        table.add_row(row, *cells, *differences)
    Console(width=140).print(table)


def _interval(differences: np.ndarray) -> str:
    """The mean difference over the seeds with its interval."""
    mean = differences.mean()
    half = stats.t.ppf(0.975, len(differences) - 1) * stats.sem(differences)
    return f"{mean:+.3f} ({mean - half:+.3f} to {mean + half:+.3f})"


if __name__ == "__main__":
    main()
