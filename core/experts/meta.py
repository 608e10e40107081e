"""Building models on the meta device without drawing random numbers.

On the meta device torch runs `Tensor.normal_` through a reference implementation whose import loads torch._dynamo and
torch._inductor: about 900 modules and two seconds of CPU time, for values that nobody will ever read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_RANDOM_FILLS = frozenset(
    {
        Tensor.bernoulli_,
        Tensor.cauchy_,
        Tensor.exponential_,
        Tensor.geometric_,
        Tensor.log_normal_,
        Tensor.normal_,
        Tensor.random_,
        Tensor.uniform_,
    }
)


class _SkipRandomFills(TorchFunctionMode):
    """Makes the in-place random fills of meta tensors do nothing."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in _RANDOM_FILLS and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))


def skip_random_init_on_meta() -> AbstractContextManager[object]:
    """Skips weight initialisation in this context if the default device is `meta`; otherwise changes nothing."""
    return _SkipRandomFills() if torch.get_default_device().type == "meta" else nullcontext()
