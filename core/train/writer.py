"""Writes files behind the back of training: one at a time, in the order they were asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor


class Writer:
    """Runs writes on one thread, and keeps the memory that they write from.

    What a write raises is raised by the next call, so that no failure passes unseen.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="writer")
        self._pending: list[Future[object]] = []
        self._snapshot: Any = None

    def snapshot(self, state: Mapping[str, Any]) -> Any:
        """A copy of nested state on the CPU, once earlier writes are done; good until the next one is taken.

        Strides are kept. So is the memory from one to the next: to get new memory takes longer than to fill it.
        """
        self.flush()
        self._snapshot = _copy(state, self._snapshot)
        return self._snapshot

    def submit(self, *writes: Callable[[], object]) -> None:
        """Starts writes, once earlier ones are done."""
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


def _copy(value: Any, kept: Any) -> Any:
    if isinstance(value, Tensor):
        if not (isinstance(kept, Tensor) and _alike(kept, value)):
            kept = torch.empty_like(value, device="cpu")
        return kept.copy_(value.detach())
    if isinstance(value, Mapping):
        memory = kept if isinstance(kept, dict) else {}
        return {key: _copy(item, memory.get(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        places = kept if isinstance(kept, list | tuple) and len(kept) == len(value) else [None] * len(value)
        return type(value)(_copy(item, place) for item, place in zip(value, places, strict=True))
    return value


def _alike(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and one.stride() == other.stride()
