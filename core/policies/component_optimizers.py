"""One optimizer per component, each with its own accumulation, clipping and schedule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from core.policies.optimizers import SGD, AdamW
from core.policies.schedules import rate_at
from core.spec import ComponentPolicy, GroupName, Schedule
from core.spec.rates import Rate


@dataclass
class _Group:
    policy: ComponentPolicy
    parameters: list[nn.Parameter]
    optimizer: Optimizer
    schedule: Schedule
    rate: float
    accumulated: int = 0
    frozen: bool = False

    def gradients(self) -> list[Tensor]:
        return [parameter.grad for parameter in self.parameters if parameter.grad is not None]


@dataclass(frozen=True)
class StepReport:
    """Gradient statistics of one component for one batch, as scalars on the device.

    `norm` is the norm before clipping, whether or not the optimizer stepped. `clipped` is 1 if the gradient was scaled
    down, 0 if not, and None if the optimizer did not step.
    """

    norm: Tensor
    clipped: Tensor | None


class ComponentOptimizers:
    """Steps every component that is not frozen, by its own policy.

    `clip_norm` bounds the norm of the gradients of all stepping components together, after their own clipping (0: no
    bound).
    """

    def __init__(
        self,
        parameters: Mapping[GroupName, Iterable[nn.Parameter]],
        policies: Mapping[GroupName, ComponentPolicy],
        rates: Mapping[GroupName, Rate],
        *,
        epochs: int,
        clip_norm: float,
    ) -> None:
        self._clip_norm = clip_norm
        self._epochs = epochs
        self._groups: dict[GroupName, _Group] = {}
        for name, candidates in parameters.items():
            trained = [parameter for parameter in candidates if parameter.requires_grad]
            if not trained:
                continue
            policy = policies[name]
            optimizer = _optimizer(trained, policy, rates[name].value)
            assert isinstance(policy.schedule, Schedule)
            self._groups[name] = _Group(policy, trained, optimizer, policy.schedule, rates[name].value)

    def start_stage(self, rates: Mapping[GroupName, float]) -> None:
        """Sets the base learning rates of the groups that are trained from now on; all others are frozen.

        A frozen group keeps the state of its optimizer for a later stage.
        """
        for name, group in self._groups.items():
            group.frozen = name not in rates
            if not group.frozen:
                group.rate = rates[name]

    def rates(self) -> dict[GroupName, float]:
        """The current learning rates of the groups that are trained."""
        return {name: float(group.optimizer.param_groups[0]["lr"]) for name, group in self._trained().items()}

    def _trained(self) -> dict[GroupName, _Group]:
        return {name: group for name, group in self._groups.items() if not group.frozen}

    def step(self, *, last: bool = False) -> dict[GroupName, StepReport]:
        """Called after every backward pass; steps each component that has accumulated enough batches.

        The step uses the mean of the accumulated gradients. With `last` every component steps on what it has.
        """
        stepping: list[_Group] = []
        reports: dict[GroupName, StepReport] = {}
        trained = self._trained()
        for name, group in trained.items():
            group.accumulated += 1
            gradients = group.gradients()
            steps_now = last or group.accumulated >= (group.policy.accumulation_steps or 1)
            if steps_now and group.accumulated > 1:
                torch._foreach_mul_(gradients, 1.0 / group.accumulated)
            norm = torch.nn.utils.get_total_norm(gradients)
            clipped = None
            if steps_now:
                stepping.append(group)
                clipped = _clip(group.parameters, norm, group.policy.clip_norm or 0.0)
            reports[name] = StepReport(norm, clipped)
        if self._clip_norm and stepping:
            parameters = [parameter for group in stepping for parameter in group.parameters]
            total = torch.nn.utils.get_total_norm([gradient for group in stepping for gradient in group.gradients()])
            clipped_together = _clip(parameters, total, self._clip_norm)
            for name, group in trained.items():
                clipped = reports[name].clipped
                if group in stepping and clipped is not None:
                    reports[name] = StepReport(reports[name].norm, torch.maximum(clipped, clipped_together))
        for group in stepping:
            group.optimizer.step()
            group.optimizer.zero_grad(set_to_none=True)
            group.accumulated = 0
        return reports

    def start_epoch(self, epoch: int) -> None:
        """Sets the learning rates of this epoch, counted from 0."""
        for group in self._trained().values():
            for options in group.optimizer.param_groups:
                options["lr"] = rate_at(group.schedule, group.rate, epoch, self._epochs)

    def state_dict(self) -> dict[str, Any]:
        """All state of an exact resume, including the gradients of an unfinished accumulation."""
        return {
            name: {
                "optimizer": group.optimizer.state_dict(),
                "accumulated": group.accumulated,
                "gradients": [p.grad for p in group.parameters] if group.accumulated else [],
            }
            for name, group in self._groups.items()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores the state on the parameters' devices."""
        for name, group in self._groups.items():
            saved = state[name]
            group.optimizer.load_state_dict(saved["optimizer"])
            group.accumulated = saved["accumulated"]
            for parameter, gradient in zip(group.parameters, saved["gradients"], strict=False):
                parameter.grad = None if gradient is None else torch.empty_like(parameter).copy_(gradient)


def _optimizer(parameters: list[nn.Parameter], policy: ComponentPolicy, lr: float) -> Optimizer:
    decay = policy.weight_decay or 0.0
    if policy.optimizer == "sgd":
        return SGD(parameters, lr=lr, momentum=0.9, nesterov=True, weight_decay=decay, fused=True)
    return AdamW(parameters, lr=lr, weight_decay=decay, fused=True)


def _clip(parameters: list[nn.Parameter], norm: Tensor, limit: float) -> Tensor:
    if limit <= 0.0:
        return torch.zeros_like(norm)
    torch.nn.utils.clip_grads_with_norm_(parameters, limit, norm)
    return (norm > limit).to(norm.dtype)
