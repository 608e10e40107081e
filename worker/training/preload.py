"""Imports everything that training needs."""

from __future__ import annotations

import gc
import os


def preload() -> None:
    """Imports training without starting a thread or initialising CUDA; takes seconds the first time."""
    # NumPy's OpenBLAS would start its threads when it is imported. Training does not use it.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Nothing that an import creates is garbage: looking for some takes 5 % of the time.
    gc.disable()
    try:
        import core.data.digits
        import core.experts.convnet
        import core.reporting.console
        import core.reporting.event_log
        import core.train.evaluate_job
        import core.train.fit  # noqa: F401
    finally:
        # Nor does the collector write to these objects later, so that forked processes share their memory.
        gc.freeze()
        gc.enable()
