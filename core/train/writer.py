"""Writes files on a background thread, one at a time, in the order of submission."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor


class Writer:
    """Runs writes on one thread and owns the memory that they write from.

    An error in a write is raised by the next call, so that no failure goes unnoticed.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="writer")
        self._pending: list[Future[object]] = []
        self._snapshot: Any = None

    def snapshot(self, state: Mapping[str, Any]) -> Any:
        """Copies nested state to the CPU after earlier writes are done; valid until the next snapshot.

        Strides are preserved. Memory is reused between snapshots: allocating it takes longer than filling it.
        """
        self.flush()
        self._snapshot = _copy(state, self._snapshot)
        return self._snapshot

    def submit(self, *writes: Callable[[], object]) -> None:
        """Starts writes after earlier ones are done."""
        self.flush()
        self._pending = [self._pool.submit(write) for write in writes]

    def flush(self) -> None:
        """Waits until all writes are done."""
        pending, self._pending = self._pending, []
        for future in pending:
            future.result()

    def close(self) -> None:
        """Finishes all writes that were submitted, also after an error, and ends the thread."""
        self._pool.shutdown(wait=True)


def _copy(value: Any, previous: Any) -> Any:
    """A copy of nested state that reuses the memory of the previous copy where it fits."""
    if isinstance(value, Tensor):
        if not (isinstance(previous, Tensor) and _same_layout(previous, value)):
            previous = torch.empty_like(value, device="cpu")
        return previous.copy_(value.detach())
    if isinstance(value, Mapping):
        memory = previous if isinstance(previous, dict) else {}
        return {key: _copy(item, memory.get(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        reusable = isinstance(previous, list | tuple) and len(previous) == len(value)
        memories = previous if reusable else [None] * len(value)
        return type(value)(_copy(item, memory) for item, memory in zip(value, memories, strict=True))
    return value


def _same_layout(left: Tensor, right: Tensor) -> bool:
    return left.dtype == right.dtype and left.shape == right.shape and left.stride() == right.stride()
