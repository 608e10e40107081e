"""Plain implementations of the expert networks, written from the papers: nothing of `core` is used here.

Every network maps images (B, C, H, W) to features and logits. Modules run in the order residual branch, shortcut, so
that layers can be paired with those of another implementation in their order of execution.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)


class Classifier(nn.Module):
    """A list of blocks, global average pooling, and a linear classifier."""

    def __init__(self, blocks: list[nn.Module], dim: int, num_classes: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.classifier = nn.Linear(dim, num_classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        for block in self.blocks:
            images = block(images)
        features = images.flatten(2).mean(2) if images.ndim == 4 else images
        return features, self.classifier(features)


class BasicUnit(nn.Module):
    """He et al., arXiv:1512.03385, fig. 2 with two 3x3 layers, and shortcut option B of section 3.3."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.w1, self.b1 = conv(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs)
        self.w2, self.b2 = conv(outputs, outputs, 3), nn.BatchNorm2d(outputs)
        self.projected = inputs != outputs
        if self.projected:
            self.ws, self.bs = conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = self.b2(self.w2(torch.relu(self.b1(self.w1(x)))))
        return torch.relu(y + (self.bs(self.ws(x)) if self.projected else x))


def resnet18(channels: int, num_classes: int, dropout: float) -> Classifier:
    """arXiv:1512.03385, table 1, column 18-layer, with the CIFAR stem."""
    blocks: list[nn.Module] = [conv(channels, 64, 3), nn.BatchNorm2d(64), nn.ReLU()]
    blocks += [BasicUnit(64, 64, 1), BasicUnit(64, 64, 1)]
    for width in (128, 256, 512):
        blocks += [BasicUnit(width // 2, width, 2), BasicUnit(width, width, 1)]
    return Classifier(blocks, 512, num_classes)


class DenseUnit(nn.Module):
    """Huang et al., arXiv:1608.06993, section 3: DenseNet-B layer, growth rate 32, dropout at its end."""

    def __init__(self, inputs: int, dropout: float) -> None:
        super().__init__()
        self.b1, self.w1 = nn.BatchNorm2d(inputs), conv(inputs, 128, 1)
        self.b2, self.w2 = nn.BatchNorm2d(128), conv(128, 32, 3)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        y = self.w2(torch.relu(self.b2(self.w1(torch.relu(self.b1(x))))))
        return torch.cat((x, F.dropout(y, self.dropout, self.training)), 1)


class Transition(nn.Module):
    """arXiv:1608.06993, section 3: compression 0.5, then 2x2 average pooling, which drops the last row of odd sizes."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.b, self.w = nn.BatchNorm2d(inputs), conv(inputs, inputs // 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.w(torch.relu(self.b(x)))
        even = y[:, :, : y.shape[2] // 2 * 2, : y.shape[3] // 2 * 2]
        means: Tensor = even.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean((3, 5))
        return means


def densenet121(channels: int, num_classes: int, dropout: float) -> Classifier:
    """arXiv:1608.06993, table 1, column DenseNet-121, with the CIFAR stem."""
    blocks: list[nn.Module] = [conv(channels, 64, 3), nn.BatchNorm2d(64), nn.ReLU()]
    width = 64
    for depth in (6, 12, 24, 16):
        if width > 64:
            blocks.append(Transition(width))
            width //= 2
        blocks += [DenseUnit(width + 32 * k, dropout) for k in range(depth)]
        width += 32 * depth
    return Classifier([*blocks, nn.BatchNorm2d(width), nn.ReLU()], 1024, num_classes)


class WideUnit(nn.Module):
    """Zagoruyko and Komodakis, arXiv:1605.07146, fig. 1d; the authors' code projects the activated input."""

    def __init__(self, inputs: int, outputs: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.b1, self.w1 = nn.BatchNorm2d(inputs), conv(inputs, outputs, 3, stride)
        self.b2, self.w2 = nn.BatchNorm2d(outputs), conv(outputs, outputs, 3)
        self.ws = conv(inputs, outputs, 1, stride) if inputs != outputs else None
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        activated = torch.relu(self.b1(x))
        y: Tensor = self.w2(F.dropout(torch.relu(self.b2(self.w1(activated))), self.dropout, self.training))
        return y + (x if self.ws is None else self.ws(activated))


def wideresnet28_10(channels: int, num_classes: int, dropout: float) -> Classifier:
    """arXiv:1605.07146, table 1 with N = (28 - 4) / 6 = 4 and k = 10."""
    blocks: list[nn.Module] = [conv(channels, 16, 3)]
    inputs = 16
    for outputs, stride in ((160, 1), (320, 2), (640, 2)):
        blocks += [WideUnit(inputs, outputs, stride, dropout)]
        blocks += [WideUnit(outputs, outputs, 1, dropout) for _ in range(3)]
        inputs = outputs
    return Classifier([*blocks, nn.BatchNorm2d(640), nn.ReLU()], 640, num_classes)


class SplitTransformMerge(nn.Module):
    """Xie et al., arXiv:1611.05431, fig. 3c as 8 separate 3x3 convolutions, each on its own part of the channels."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, width // 8, 3, 3))
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        paths = zip(x.chunk(8, 1), self.weight.chunk(8), strict=True)
        return torch.cat([F.conv2d(part, weight, stride=self.stride, padding=1) for part, weight in paths], 1)


class NextUnit(nn.Module):
    """arXiv:1611.05431, section 5.3: bottleneck with projection shortcut; dropout before the last 1x1."""

    def __init__(self, inputs: int, outputs: int, stride: int, dropout: float) -> None:
        super().__init__()
        inner = 2 * outputs
        self.w1, self.b1 = conv(inputs, inner, 1), nn.BatchNorm2d(inner)
        self.w2, self.b2 = SplitTransformMerge(inner, stride), nn.BatchNorm2d(inner)
        self.w3, self.b3 = conv(inner, outputs, 1), nn.BatchNorm2d(outputs)
        self.projected, self.dropout = inputs != outputs, dropout
        if self.projected:
            self.ws, self.bs = conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.b2(self.w2(torch.relu(self.b1(self.w1(x))))))
        y = self.b3(self.w3(F.dropout(y, self.dropout, self.training)))
        return torch.relu(y + (self.bs(self.ws(x)) if self.projected else x))


class PreActNextUnit(nn.Module):
    """The same with pre-activation (arXiv:1603.05027, fig. 4e); raw input to the projection, dropout before norm 3."""

    def __init__(self, inputs: int, outputs: int, stride: int, dropout: float) -> None:
        super().__init__()
        inner = 2 * outputs
        self.b1, self.w1 = nn.BatchNorm2d(inputs), conv(inputs, inner, 1)
        self.b2, self.w2 = nn.BatchNorm2d(inner), SplitTransformMerge(inner, stride)
        self.b3, self.w3 = nn.BatchNorm2d(inner), conv(inner, outputs, 1)
        self.ws = conv(inputs, outputs, 1, stride) if inputs != outputs else None
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        inner = self.w2(torch.relu(self.b2(self.w1(torch.relu(self.b1(x))))))
        masked = F.dropout(inner, self.dropout, self.training)
        y: Tensor = self.w3(torch.relu(self.b3(masked)))
        return y + (x if self.ws is None else self.ws(x))


def _resnext(channels: int, num_classes: int, dropout: float, *, preact: bool) -> Classifier:
    unit = PreActNextUnit if preact else NextUnit
    units: list[nn.Module] = []
    inputs = 64
    for outputs, stride in ((256, 1), (512, 2), (1024, 2)):
        units += [unit(inputs, outputs, stride, dropout)] + [unit(outputs, outputs, 1, dropout) for _ in range(2)]
        inputs = outputs
    stem = conv(channels, 64, 3)
    if preact:
        return Classifier([stem, *units, nn.BatchNorm2d(1024), nn.ReLU()], 1024, num_classes)
    return Classifier([stem, nn.BatchNorm2d(64), nn.ReLU(), *units], 1024, num_classes)


def resnext29_8x64d(channels: int, num_classes: int, dropout: float) -> Classifier:
    """arXiv:1611.05431, section 5.3: ResNeXt-29, 8x64d."""
    return _resnext(channels, num_classes, dropout, preact=False)


def preact_resnext29_8x64d(channels: int, num_classes: int, dropout: float) -> Classifier:
    """ResNeXt-29, 8x64d, with pre-activation units."""
    return _resnext(channels, num_classes, dropout, preact=True)


class QuarterMeans(nn.Module):
    """Means of the four quarters of each channel; quarters of an odd-sized map share its middle row and column."""

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = -(-x.shape[2] // 2), -(-x.shape[3] // 2)
        quarters = [half[..., part] for half in (x[:, :, :rows], x[:, :, -rows:]) for part in self._halves(columns)]
        return torch.stack([quarter.mean((2, 3)) for quarter in quarters], 2).flatten(1)

    @staticmethod
    def _halves(size: int) -> tuple[slice, slice]:
        return slice(0, size), slice(-size, None)


def convnet_small(channels: int, num_classes: int, dropout: float) -> Classifier:
    """Three 3x3 convolutions, quarter means, a linear layer to 64 features."""
    blocks: list[nn.Module] = []
    for inputs, outputs, stride in ((channels, 16, 1), (16, 32, 1), (32, 48, 2)):
        blocks += [conv(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs), nn.ReLU()]
    return Classifier([*blocks, QuarterMeans(), nn.Linear(4 * 48, 64)], 64, num_classes)


NETWORKS = {
    "resnet18": resnet18,
    "densenet121": densenet121,
    "wideresnet28_10": wideresnet28_10,
    "preact_resnext29_8x64d": preact_resnext29_8x64d,
    "resnext29_8x64d": resnext29_8x64d,
    "convnet_small": convnet_small,
}


def layers_in_order(network: nn.Module, images: Tensor) -> list[nn.Module]:
    """The modules that hold parameters, in the order in which a forward pass runs them."""
    layers: list[nn.Module] = []
    handles = [
        module.register_forward_hook(lambda module, _inputs, _output: layers.append(module))
        for module in network.modules()
        if list(module.parameters(recurse=False))
    ]
    network.eval()
    with torch.no_grad():
        network(images)
    for handle in handles:
        handle.remove()
    network.train()
    return layers


def share_weights(network: nn.Module, other: nn.Module, images: Tensor) -> dict[nn.Parameter, nn.Parameter]:
    """Gives every layer of `network` the weights of the layer that runs at the same position in `other`.

    Returns the parameters of `network` by those of `other`.
    """
    pairs: dict[nn.Parameter, nn.Parameter] = {}
    layers, others = layers_in_order(network, images), layers_in_order(other, images)
    for layer, counterpart in zip(layers, others, strict=True):
        own, given = dict(layer.named_parameters()), dict(counterpart.named_parameters())
        assert {name: p.shape for name, p in own.items()} == {name: p.shape for name, p in given.items()}
        for name, parameter in own.items():
            parameter.data = given[name].data
            pairs[given[name]] = parameter
    assert set(pairs) == set(other.parameters())
    assert set(pairs.values()) == set(network.parameters())
    return pairs
