"""Imports everything that training needs."""

from __future__ import annotations

import gc
import os


def preload() -> None:
    """Imports training without starting a thread or initialising CUDA; takes seconds the first time."""
    # NumPy's OpenBLAS would start its threads when it is imported. Training does not use it.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Imports create almost no garbage; collecting it would take 5 % of the time.
    gc.disable()
    try:
        from core.run.code import import_all
        from core.run.environment import software

        import_all()
        # What has been imported is what will run, whatever is on the disk by then.
        software()
    finally:
        # The collector never touches these objects again, so that forked processes share their memory.
        gc.freeze()
        gc.enable()
