"""Writes files behind the back of training: one at a time, in the order they were asked for."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor


class Writer:
    """Runs writes on one thread. At most one is waited for at a time: a new one first waits for those before it.

    What a write raises is raised by the next `submit` or `flush`, so that no failure passes unseen.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="writer")
        self._pending: list[Future[object]] = []

    def submit(self, *writes: Callable[[], object]) -> None:
        """Waits until earlier writes are done, then starts these."""
        self.flush()
        self._pending = [self._pool.submit(write) for write in writes]

    def flush(self) -> None:
        """Waits until everything is on disk."""
        pending, self._pending = self._pending, []
        for future in pending:
            future.result()

    def close(self) -> None:
        """Ends the thread, after what it has begun."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def snapshot(value: object) -> object:
    """A copy of nested state on the CPU that later training steps do not change; strides are kept."""
    if isinstance(value, Tensor):
        return torch.empty_like(value, device="cpu").copy_(value.detach())
    if isinstance(value, dict):
        return {key: snapshot(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(snapshot(item) for item in value)
    return value
