"""Training processes for tests, forked from a server that has imported torch once: a start costs milliseconds."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["core.train.fit", "core.reporting.console", "core.__main__"])


def start_core(words: list[str], errors: Path, environment: Mapping[str, str] = {}) -> BaseProcess:
    """Starts `python -m core` with these words; its standard error goes to `errors`."""
    process = CONTEXT.Process(target=_run, args=(words, errors, dict(environment)))
    process.start()
    return process


def _run(words: list[str], errors: Path, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    output = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    from core.__main__ import app

    app(words, prog_name="python -m core")
