"""Numbers of parameters as closed formulas, so that a job can be outlined without building its model.

Tests compare each with the real module. An architecture or a fusion type without a row here is counted when the job
starts. K experts, C classes, D fused feature dimension, D_k feature dimension of expert k, H hidden dimension.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

from core.spec.catalogue import ARCHITECTURES
from core.spec.models import MAX_FEATURE_DIM, FusionOptions, HeadOptions


def linear(inputs: int, outputs: int) -> int:
    """A linear layer with bias."""
    return inputs * outputs + outputs


def mlp(inputs: int, hidden: int, outputs: int) -> int:
    """Two linear layers with biases."""
    return linear(inputs, hidden) + linear(hidden, outputs)


# Output channels of the first convolution (3x3, without bias), which alone depends on the channels of the images.
STEM_CHANNELS: dict[str, int] = {
    "resnet18": 64,
    "densenet121": 64,
    "wideresnet28_10": 16,
    "preact_resnext29_8x64d": 64,
    "resnext29_8x64d": 64,
    "convnet_small": 16,
    "convnet_small_gn": 16,
}
# Inputs of the last layer before the features, where `feature_dim` is the size of that layer alone.
_PROJECTION_INPUTS = {"convnet_small": 192, "convnet_small_gn": 192}


def _conv(size: int, inputs: int, outputs: int) -> int:
    """A square convolution without bias."""
    return size * size * inputs * outputs


def _resnet18(channels: int, feature_dim: int) -> int:
    """Without its head. Two blocks of two convolutions in each stage; from the second stage on with a shortcut."""
    width = feature_dim // 8
    total = _conv(3, channels, width) + 2 * width
    inputs = width
    for outputs in (width, 2 * width, 4 * width, 8 * width):
        total += _conv(3, inputs, outputs) + 3 * _conv(3, outputs, outputs) + 4 * 2 * outputs
        total += 0 if inputs == outputs else _conv(1, inputs, outputs) + 2 * outputs
        inputs = outputs
    return total


def _wideresnet28(channels: int, feature_dim: int) -> int:
    """Without its head. Four blocks of two convolutions in each stage, each after a normalisation."""
    inputs = STEM_CHANNELS["wideresnet28_10"]
    total = _conv(3, channels, inputs) + 2 * feature_dim
    for outputs in (feature_dim // 4, feature_dim // 2, feature_dim):
        total += _conv(3, inputs, outputs) + 7 * _conv(3, outputs, outputs) + 2 * inputs + 7 * 2 * outputs
        total += 0 if inputs == outputs else _conv(1, inputs, outputs)
        inputs = outputs
    return total


# Where `feature_dim` is the width of the whole network: parameters of (channels, D) without the head.
_OF_WIDTH: dict[str, Callable[[int, int], int]] = {"resnet18": _resnet18, "wideresnet28_10": _wideresnet28}


def expert_parameters(arch: str, channels: int, num_classes: int, feature_dim: int) -> int | None:
    """Parameters of an expert with its head; None if there is no formula for its architecture.

    The catalogue has them for 3 channels, 100 classes and the usual feature dimension; the rest is the difference.
    """
    if arch in _OF_WIDTH:
        return _OF_WIDTH[arch](channels, feature_dim) + linear(feature_dim, num_classes)
    if arch not in STEM_CHANNELS:
        return None
    info = ARCHITECTURES[arch]
    body = info.parameters - linear(info.feature_dim, 100) + 9 * STEM_CHANNELS[arch] * (channels - 3)
    if arch in _PROJECTION_INPUTS:
        body += linear(_PROJECTION_INPUTS[arch], feature_dim) - linear(_PROJECTION_INPUTS[arch], info.feature_dim)
    return body + linear(feature_dim, num_classes)


def closest_width(arch: str, channels: int, num_classes: int, parameters: int) -> int:
    """The feature dimension with which a network of this architecture has closest to this many parameters.

    The architecture has the option `feature_dim`, and its parameters grow with it.
    """
    step = ARCHITECTURES[arch].feature_dim_step

    def count(steps: int) -> int:
        number = expert_parameters(arch, channels, num_classes, steps * step)
        assert number is not None, arch
        return number

    most = MAX_FEATURE_DIM // step
    above = min(most, 1 + bisect_left(range(1, most + 1), parameters, key=count))
    below = max(1, above - 1)
    return step * min(below, above, key=lambda steps: abs(count(steps) - parameters))


# Parameters of (K, D, H, options), without adapters and normalisation.
Formula = Callable[[int, int, int, FusionOptions], int]


def _product(_num_experts: int, dim: int, hidden: int, options: FusionOptions) -> int:
    return mlp(dim, hidden, dim) if options.mlp else 0


def _sum(num_experts: int, dim: int, hidden: int, options: FusionOptions) -> int:
    weights = 0 if options.weights == "none" else num_experts
    return weights + _product(num_experts, dim, hidden, options)


def _concatenation(num_experts: int, dim: int, hidden: int, options: FusionOptions) -> int:
    return mlp(num_experts * dim, hidden, dim) if options.mlp else linear(num_experts * dim, dim)


def _attention(num_experts: int, dim: int, hidden: int, options: FusionOptions) -> int:
    # Projections to queries, keys, values and output; a layer of the encoder adds an MLP and two LayerNorms.
    attention = 4 * linear(dim, dim)
    layers = 2 * (attention + mlp(dim, dim, dim) + 4 * dim) if options.encoder else attention
    return layers + _product(num_experts, dim, hidden, options)


FUSION_FORMULAS: dict[str, Formula] = {
    "multiplicative": _product,
    "multiplicativeAddition": _sum,
    "multiplicativeShifted": _product,
    "TransformerBase": _attention,
    "concatenation": _concatenation,
    "simpleAddition": _sum,
}

# Learned elements of an absent expert, with expert dropout: one for each expert, where no other number stands here.
_NEUTRAL_ELEMENTS = {"multiplicativeAddition": 2, "TransformerBase": 0}


def fusion_parameters(
    fusion_type: str, feature_dims: Sequence[int], input_dim: int, options: FusionOptions
) -> int | None:
    """Parameters of a fusion module with its adapters; None if there is no formula for its type."""
    if fusion_type not in FUSION_FORMULAS:
        return None
    adapters = sum(linear(dim, input_dim) for dim in feature_dims if dim != input_dim)
    norms = 0 if options.norm is False else 2 * input_dim * len(feature_dims)
    own = FUSION_FORMULAS[fusion_type](len(feature_dims), input_dim, options.hidden_dim or input_dim, options)
    elements = _NEUTRAL_ELEMENTS.get(fusion_type, 1) if options.expert_dropout else 0
    return adapters + norms + own + elements * input_dim * len(feature_dims)


def head_parameters(input_dim: int, num_classes: int, options: HeadOptions) -> int:
    """Parameters of a global head."""
    if options.type == "mlp":
        return mlp(input_dim, options.hidden_dim or input_dim, num_classes)
    return linear(input_dim, num_classes)
