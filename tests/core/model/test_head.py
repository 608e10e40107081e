from __future__ import annotations

import torch
from torch import nn

from core.model.head import MLPHead, build_head
from core.spec import HeadOptions


def test_the_linear_head_is_initialised_as_torch_initialises_linear_layers() -> None:
    torch.manual_seed(0)
    head = build_head(16, 10, HeadOptions(type="linear"))
    torch.manual_seed(0)
    expected = nn.Linear(16, 10)
    assert type(head) is nn.Linear
    assert torch.equal(head.weight, expected.weight)
    assert torch.equal(head.bias, expected.bias)
    assert head.bias.abs().sum() > 0


def test_the_mlp_head_has_two_layers_and_dropout() -> None:
    head = build_head(16, 10, HeadOptions(type="mlp"))
    assert isinstance(head, MLPHead)
    assert [type(layer) for layer in head] == [nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]
    assert head[2].p == 0.5
    assert head(torch.zeros(3, 16)).shape == (3, 10)
    assert (head.in_features, head.out_features) == (16, 10)


def test_options_of_the_mlp_head_are_used() -> None:
    head = build_head(16, 10, HeadOptions(type="mlp", hidden_dim=24, dropout=0.25))
    assert isinstance(head, MLPHead)
    assert [tuple(p.shape) for p in head.parameters()] == [(24, 16), (24,), (10, 24), (10,)]
    assert [layer.p for layer in head if isinstance(layer, nn.Dropout)] == [0.25]
