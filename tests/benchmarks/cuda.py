"""Images/s and model FLOP utilisation on a CUDA device; absolute numbers, for a GPU's clock is its own."""

from __future__ import annotations

import statistics

import torch
from torch.utils.flop_counter import FlopCounterMode

from core.runtime import start_runtime
from tests.benchmarks.sidebyside import timed
from tests.benchmarks.steps import batch, joint_spec, own_step

BATCH = 128
# Images/s that the scripts this service replaces logged for the same models on their card.
LOGGED = {"densenet121": 215.0, "wideresnet28_10": 156.0}
# Dense bfloat16 TFLOP/s by the makers' data sheets; parts of the device's name, the first match counts.
PEAK = {"H200": 989, "H100": 989, "A100": 312, "L40S": 362, "L40": 181, "L4": 121, "A10": 125, "4090": 165, "3090": 71}


def joint_models(device: torch.device) -> list[list[str]]:
    """A row a model, without and with compilation: images/s, FLOP utilisation, and how often the logged speed."""
    rows = []
    name = torch.cuda.get_device_name(device)
    peak = next((tflops * 1e12 for part, tflops in PEAK.items() if part in name), None)
    for arch in ("resnet18", "densenet121", "wideresnet28_10"):
        for compiled in (False, True):
            images, labels = batch(BATCH, device)
            spec = joint_spec(arch, BATCH)
            step = own_step(spec, start_runtime(spec, str(device)), images, labels, compiled=compiled)
            if not compiled:
                with FlopCounterMode(display=False) as counter:
                    step()
                flops = counter.get_total_flops()
            for _ in range(5):
                step()
            seconds = statistics.median(timed(step) for _ in range(20))
            used = f"{100 * flops / seconds / peak:.1f} %" if peak else f"unknown peak of {name}"
            speed = BATCH / seconds
            logged = f"{speed / LOGGED[arch]:.1f} x" if arch in LOGGED else ""
            rows.append([f"4 x {arch}{', compiled' if compiled else ''}", f"{speed:,.0f}", used, logged])
            del step
            torch.cuda.empty_cache()
    return rows
