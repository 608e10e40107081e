"""The features that enter the fusion module during an evaluation, kept for measurements that need no backbone.

K experts, N images, D_k feature dimension of expert k.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from torch import Tensor

from core.model.model import MultiExpertModel
from core.runtime import Runtime

# The features of all images are kept in memory; up to this size.
MAX_FEATURE_BYTES = 2 << 30

Batches = Iterable[tuple[Tensor, Tensor]]


class FeatureRecorder:
    """Keeps the features that enter a model's fusion module, and the labels of their images, on the host."""

    def __init__(self, model: MultiExpertModel) -> None:
        assert model.fusion is not None
        self._fusion = model.fusion
        self._features: list[list[Tensor]] = [[] for _ in model.experts]
        self._labels: list[Tensor] = []

    def watch(self, batches: Batches) -> Iterator[tuple[Tensor, Tensor]]:
        """The same batches; while they are read, everything that enters the fusion module is kept."""
        handle = self._fusion.register_forward_pre_hook(lambda _module, inputs: self._keep(inputs[0]))
        try:
            for images, labels in batches:
                self._labels.append(labels.cpu())
                yield images, labels
        finally:
            handle.remove()

    def _keep(self, features_KBD: Sequence[Tensor]) -> None:
        for kept, features_BD in zip(self._features, features_KBD, strict=True):
            kept.append(features_BD.cpu())

    def gathered(self, runtime: Runtime) -> tuple[list[Tensor], Tensor]:
        """The features of every expert, each (N, D_k), and the labels (N,), of the images of all processes."""
        return [runtime.gather(kept) for kept in self._features], runtime.gather(self._labels)
