from __future__ import annotations

import threading

import pytest
import torch

from core.train.writer import Writer


def test_every_write_that_was_submitted_is_finished_when_training_fails() -> None:
    """A failure closes the writer while the last good checkpoint may still wait for the components before it."""
    release, written = threading.Event(), list[str]()

    def write_component() -> None:
        assert release.wait(60)
        written.append("component")

    writer = Writer()
    writer.submit(write_component, lambda: written.append("checkpoint"))
    threading.Timer(0.05, release.set).start()
    writer.close()
    assert written == ["component", "checkpoint"]


def test_the_error_of_a_write_is_raised_by_the_next_call() -> None:
    def fail() -> None:
        raise OSError("no space")

    writer = Writer()
    writer.submit(fail)
    with pytest.raises(OSError, match="no space"):
        writer.flush()
    writer.close()


def test_a_snapshot_waits_for_the_writes_that_use_its_memory() -> None:
    writer, value, seen = Writer(), torch.zeros(3), list[float]()
    release = threading.Event()
    first = writer.snapshot({"value": value})

    def write() -> None:
        assert release.wait(60)
        seen.append(first["value"].sum().item())

    writer.submit(write)
    threading.Timer(0.05, release.set).start()
    assert writer.snapshot({"value": value + 1})["value"].sum().item() == 3.0
    assert seen == [0.0]
    writer.close()
