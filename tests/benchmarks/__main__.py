"""The benchmarks: `make bench`. Every ratio is of two things measured in turns in this run."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from tests.benchmarks import augmentation, evaluation, training
from tests.benchmarks.sidebyside import Row

# Parts of the service that are measured, in this order.
SERVICE = ("starts", "claims", "service", "postgres", "streams", "store", "content", "dashboard")
console = Console(width=max(110, Console().width))


def measure(device: torch.device) -> dict[str, Callable[[], list[Row]]]:
    """Every comparison of the training core by name."""
    return {
        "step": lambda: training.joint_steps(device),
        "fit": lambda: [training.whole_loop(device)],
        "evaluate": lambda: [evaluation.one_pass(device)],
        "subsets": lambda: evaluation.every_subset_of_every_type(device),
        "augment": lambda: augmentation.recipes(device),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("only", nargs="*", help="names of comparisons; all if none is given")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    device = torch.device(given.device)
    comparisons = measure(device)
    others = (*SERVICE, "cuda")
    unknown = sorted(set(given.only) - set(comparisons) - set(others))
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}; choose from {', '.join([*comparisons, *others])}")
    console.print(f"PyTorch {torch.__version__} on {_hardware(device)}, {torch.get_num_threads()} threads")
    said = _service([name for name in SERVICE if not given.only or name in given.only])
    rows = [row for name, compare in comparisons.items() if not given.only or name in given.only for row in compare()]
    table = Table("comparison (ours / the other)", "ours /s", "other /s", "ratio", "wanted", title="Training core")
    for row in rows:
        table.add_row(*row.cells())
    if rows:
        console.print(table)
    if not given.only or "cuda" in given.only:
        _cuda(device)
    return 1 if said or any(row.wanted is not None and row.ratio < row.wanted for row in rows) else 0


def _service(names: list[str]) -> bool:
    """Measures the service; whether something was missed."""
    from tests.benchmarks import claims, content, dashboard, postgres, service, starts, store, streams

    table = Table("measure", "value", "wanted", title="Service")
    modules = {
        "starts": starts,
        "claims": claims,
        "service": service,
        "postgres": postgres,
        "streams": streams,
        "store": store,
        "content": content,
        "dashboard": dashboard,
    }
    lines = [line for name in names for line in modules[name].rows()]
    for line in lines:
        table.add_row(*line)
    if lines:
        console.print(table)
    return any("MISSED" in line[2] for line in lines)


def _cuda(device: torch.device) -> None:
    if device.type != "cuda":
        console.print("No CUDA device here: images/s and FLOP utilisation on a GPU are not measured.")
        return
    from tests.benchmarks.cuda import BATCH, joint_models

    table = Table("joint step", "images/s", "FLOP utilisation", "scripts' logged speed", title=f"CUDA, batch {BATCH}")
    for cells in joint_models(device):
        table.add_row(*cells)
    console.print(table)


def _hardware(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "this CPU"
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "a CPU")
    return f"{model}, {os.cpu_count()} cores"


if __name__ == "__main__":
    sys.exit(main())
