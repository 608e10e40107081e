"""What only a GPU shows; run with `pytest -m gpu`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.core.jobs import fusion, run
from tests.core.train.test_fit import components, same, weights

pytestmark = pytest.mark.gpu


def test_a_deterministic_run_resumes_bit_for_bit(tmp_path: Path) -> None:
    spec = fusion(epochs=2, deterministic=True, compile=False)
    straight = run(spec, tmp_path / "straight", device="cuda")
    for stop in (1, 3):
        asked = iter([False] * (stop - 1) + [True])
        folder = tmp_path / f"stop-{stop}"
        assert run(spec, folder, device="cuda", should_stop=lambda asked=asked: next(asked)).step == stop
        assert run(spec, folder, device="cuda").metrics == straight.metrics
        assert same(weights(tmp_path / "straight"), weights(folder))
        assert components(tmp_path / "straight") == components(folder)


@pytest.mark.parametrize("compiled", [False, True])
def test_bfloat16_and_compilation_learn(compiled: bool, tmp_path: Path) -> None:
    result = run(fusion(epochs=8, precision="bfloat16", compile=compiled), tmp_path, device="cuda")
    assert result.state == "succeeded"
    assert result.metrics["test/accuracy_fused"] > 0.3


def test_a_step_does_not_wait_for_the_device(tmp_path: Path) -> None:
    """Between log intervals nothing may synchronise: torch raises where something does."""
    steps = 0

    def watch() -> bool:
        nonlocal steps
        steps += 1
        # The first interval compiles and allocates; the steps of the second, up to its log step, are watched.
        torch.cuda.set_sync_debug_mode("error" if 4 <= steps % 10 <= 6 else "default")
        return False

    spec = fusion(epochs=1, batch_size=4, compile=False)
    try:
        assert run(spec, tmp_path, device="cuda", should_stop=watch).state == "succeeded"
    finally:
        torch.cuda.set_sync_debug_mode("default")
