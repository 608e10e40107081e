"""The joint step against a plain loop, and the whole of `fit` against its own bare step."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from core.reporting.event_log import EventLog
from core.runtime import has_bfloat16, start_runtime
from core.spec import parse_spec
from core.train.fit import fit
from tests.benchmarks.sidebyside import Row, compare, wait
from tests.benchmarks.steps import CLASSES, batch, joint_spec, own_step, plain_step

BATCH = 32
CHECKPOINT_AT = 18


def joint_steps(device: torch.device) -> list[Row]:
    """Images/s of 4 x resnet18, 32x32, 100 classes, batch 32, in the precisions that the hardware has."""
    rows = []
    images, labels = batch(BATCH, device)
    for precision in ("bfloat16", "float32"):
        if precision == "bfloat16" and not has_bfloat16(device):
            continue
        spec = joint_spec("resnet18", BATCH, precision=precision)
        runtime = start_runtime(spec, str(device))
        ours, plain = own_step(spec, runtime, images, labels), plain_step(spec, device, images, labels)
        wanted = 1.8 if precision == "bfloat16" else 1.0
        what = f"joint step, 4 x resnet18, {precision} / plain float32 loop"
        rows.append(compare(what, ours, plain, rounds=8, wanted=wanted, unit_count=BATCH))
    return rows


def whole_loop(device: torch.device) -> Row:
    """Steps of `fit`, with augmentation, data, metrics and a checkpoint of 540 MB, in turns with the bare step."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        rng = np.random.default_rng(0)
        num_images = 40 * BATCH
        pictures = rng.integers(0, 256, (num_images, 32, 32, 3), dtype=np.uint8)
        np.savez(folder / "noise.npz", images=pictures, labels=np.arange(num_images) % CLASSES)
        fields = joint_spec("resnet18", BATCH).model_dump(mode="json", by_alias=True)
        fields["dataset"] = {"name": "npz:noise.npz"}
        fields["training"] |= {"augmentation": "auto", "compile": False}
        fields["checkpoint"] = {"every_steps": CHECKPOINT_AT}
        spec = parse_spec(fields)
        bare_spec = joint_spec("resnet18", BATCH)
        runtime = start_runtime(bare_spec, str(device))
        bare = own_step(bare_spec, runtime, *batch(BATCH, device))
        bare()
        whole_s: list[float] = []
        bare_s: list[float] = []
        left: list[float] = []

        def between_steps() -> bool:
            wait()
            now = time.perf_counter()
            if left:
                whole_s.append(now - left[0])
            began = time.perf_counter()
            bare()
            wait()
            bare_s.append(time.perf_counter() - began)
            left[:] = [time.perf_counter()]
            return len(whole_s) >= CHECKPOINT_AT + 8

        log = EventLog(folder / "run" / "events.jsonl")
        fit(
            spec,
            folder / "run",
            reporter=log,
            data_roots=[folder],
            should_stop=between_steps,
            device=str(device),
        )
        log.close()
    # The first steps fill caches; the last bare step was called after the last step of fit.
    # Step 2 is the first that is timed, and a checkpoint is written before the step after it.
    window = range(CHECKPOINT_AT - 1, CHECKPOINT_AT + 3)
    usual = [k for k in range(2, len(whole_s)) if k not in window]
    ours, other = (statistics.mean(times[k] for k in usual) for times in (whole_s, bare_s[1:]))
    delay_s = sum(whole_s[k] - ours for k in window)
    # A checkpoint comes once an epoch: with the 10,000 images of a usual hold-out, once in as many steps.
    ours += delay_s / (10_000 // BATCH)
    what = f"fit, a checkpoint an epoch (it delays training by {delay_s:.1f} s) / its own bare step"
    return Row(what, ours, other, other / ours, 0.97, BATCH)
