"""Which parameters each optimizer group trains."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

from core.model.model import MultiExpertModel
from core.spec import GroupName


def optimizer_groups(model: MultiExpertModel, new_heads: Collection[int]) -> dict[GroupName, list[nn.Parameter]]:
    """One group per component; the heads of the experts in `new_heads` form a group of their own."""
    groups: dict[GroupName, list[nn.Parameter]] = {}
    for name, module in model.components().items():
        groups[name] = list(module.parameters())
    if new_heads:
        heads = [parameter for k in new_heads for parameter in model.expert(k).head.parameters()]
        own = {id(parameter) for parameter in heads}
        groups["experts"] = [parameter for parameter in groups["experts"] if id(parameter) not in own]
        groups["expert_heads"] = heads
    return groups
