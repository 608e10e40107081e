from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Two test processes share two cores; more threads each would only wait for one another."""
    torch.set_num_threads(1)
