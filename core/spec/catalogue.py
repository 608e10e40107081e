"""What there is to choose from, in facts that need no torch; tests hold them to the models."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ArchitectureFacts:
    """An architecture for 3-channel 32 px images and 100 classes: feature dimension, parameters, what it is."""

    feature_dim: int
    parameters: int
    about: str


ARCHITECTURE_FACTS: dict[str, ArchitectureFacts] = {
    "resnet18": ArchitectureFacts(512, 11_220_132, "ResNet-18, 3x3 stem"),
    "densenet121": ArchitectureFacts(1024, 7_048_676, "DenseNet-121, growth 32; option dropout"),
    "wideresnet28_10": ArchitectureFacts(640, 36_536_884, "WideResNet-28-10; option dropout"),
    "preact_resnext29_8x64d": ArchitectureFacts(1024, 34_515_364, "ResNeXt-29 8x64d, pre-activation; option dropout"),
    "resnext29_8x64d": ArchitectureFacts(1024, 34_518_948, "ResNeXt-29 8x64d; option dropout"),
    "convnet_small": ArchitectureFacts(64, 37_908, "for demonstrations and tests, 8 px and up; option feature_dim"),
    "convnet_small_gn": ArchitectureFacts(64, 37_908, "convnet_small with GroupNorm; option feature_dim"),
}


@dataclass(frozen=True)
class DatasetFacts:
    """A named data set: how large it is, and the file or folder that has to lie under a data root (None: built in)."""

    classes: int
    train: int
    test: int
    place: str | None
    archive: str | None = None


DATASET_FACTS: dict[str, DatasetFacts] = {
    "digits": DatasetFacts(10, 1_437, 360, None),
    "cifar10": DatasetFacts(10, 50_000, 10_000, "cifar-10-batches-py", "cifar-10-python.tar.gz"),
    "cifar100": DatasetFacts(100, 50_000, 10_000, "cifar-100-python", "cifar-100-python.tar.gz"),
}
