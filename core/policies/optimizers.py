"""AdamW and SGD that do not import PyTorch's compiler.

PyTorch keeps the methods of optimizers out of compiled graphs by decorators that import torch._dynamo and
torch._inductor (about 900 modules, 2.5 s of CPU) at the first call. Only models are compiled here, never an optimizer,
so the methods are called without these decorators. The numbers are the same.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import optim


def _plain(method: Any) -> Any:
    """The method without its decorators; unchanged in a version of PyTorch that does not decorate it."""
    return inspect.unwrap(method)


class _WithoutCompiler(optim.Optimizer):
    add_param_group = _plain(optim.Optimizer.add_param_group)
    state_dict = _plain(optim.Optimizer.state_dict)
    load_state_dict = _plain(optim.Optimizer.load_state_dict)
    zero_grad = _plain(optim.Optimizer.zero_grad)


class AdamW(_WithoutCompiler, optim.AdamW):
    """`torch.optim.AdamW`."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        _adamw_step(self)


class SGD(_WithoutCompiler, optim.SGD):
    """`torch.optim.SGD`."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        _sgd_step(self)


_adamw_step = _plain(optim.AdamW.step)
_sgd_step = _plain(optim.SGD.step)
