"""One pass for the fused model and every expert, against one pass each; every subset of experts, against that pass."""

from __future__ import annotations

import torch

from core.model.model import MultiExpertModel
from core.runtime import start_runtime
from core.spec import FUSION_TYPES, FusionSpec
from core.train.evaluate import evaluate
from core.train.subsets import subset_accuracies
from tests.benchmarks.sidebyside import Row, compare
from tests.benchmarks.steps import CLASSES, batch, joint_model, joint_spec

BATCH = 256
NUM_EXPERTS = 10


def one_pass(device: torch.device) -> Row:
    """4 x resnet18 over pictures of 32x32."""
    count = 2 if device.type == "cpu" else 20
    spec = joint_spec("resnet18", BATCH)
    runtime = start_runtime(spec, str(device))
    model = joint_model(spec, device).to(memory_format=torch.channels_last)
    batches = [batch(BATCH, device)] * count
    experts = [MultiExpertModel([model.expert(k)]) for k in range(4)]

    def run(part: MultiExpertModel) -> None:
        evaluate(part, batches, lambda images: images, runtime, num_classes=CLASSES)

    def fused_alone() -> None:
        model.eval()
        with torch.inference_mode(), runtime.autocast():
            for images, labels in batches:
                outputs = model(runtime.format(images))
                assert outputs.fused is not None
                (outputs.fused.argmax(dim=1) == labels).sum().item()

    def one_after_another() -> None:
        fused_alone()
        for expert in experts:
            run(expert)

    what = "evaluation in one pass / fused, then four experts"
    rounds = 5 if device.type == "cpu" else 10
    return compare(what, lambda: run(model), one_after_another, rounds=rounds, wanted=1.8, unit_count=BATCH * count)


def every_subset(device: torch.device, fusion_type: str) -> Row:
    """All 1,024 subsets of 10 x resnet18, from features, against the pass that computes the features."""
    count = 64 if device.type == "cpu" else 8192
    spec = joint_spec("resnet18", BATCH)
    fusion = FusionSpec(type=fusion_type)
    experts = spec.experts[:1] * NUM_EXPERTS
    spec = spec.model_copy(update={"experts": experts, "num_experts": NUM_EXPERTS, "fusion": fusion})
    runtime = start_runtime(spec, str(device))
    model = joint_model(spec, device).to(memory_format=torch.channels_last)
    images, labels = batch(count, device)
    generator = torch.Generator().manual_seed(0)
    features = [torch.randn(count, dim, generator=generator) for dim in model.feature_dims()]

    def backbones() -> None:
        batches = zip(images.split(BATCH), labels.split(BATCH), strict=True)
        evaluate(model, batches, lambda pixels: pixels, runtime, num_classes=CLASSES)

    what = f"{fusion_type}: {1 << NUM_EXPERTS:,} subsets / {NUM_EXPERTS} backbones"
    return compare(
        what,
        lambda: subset_accuracies(model, features, labels.cpu(), runtime, fused=0.0),
        backbones,
        rounds=5 if device.type == "cpu" else 10,
        wanted=10.0,
        unit_count=count,
    )


def every_subset_of_every_type(device: torch.device) -> list[Row]:
    """`every_subset` for each fusion type."""
    return [every_subset(device, fusion_type) for fusion_type in FUSION_TYPES]
