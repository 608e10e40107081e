from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision.transforms.v2 as T
from torch import Tensor

from core.augment import BatchAugment, normalize
from core.augment.erasing import draw_boxes, erase
from core.augment.mixing import Mix, apply_mix, draw_mix
from core.augment.policies import (
    JITTER_OPS,
    OPS,
    apply_jitter,
    draw_jitter,
    draw_stages,
    randaugment_space,
    trivial_space,
)
from core.spec import ARCHITECTURES, FUSION_TYPES, NO_AUGMENTATION, Augmentation

RECIPES = {name: info.recipe.augmentation for name, info in FUSION_TYPES.items()} | {
    name: info.recipe.augmentation for name, info in ARCHITECTURES.items()
}
LABELS = torch.arange(12) % 10


def random_images(channels: int, size: int) -> Tensor:
    generator = torch.Generator().manual_seed(size)
    return torch.randint(0, 256, (12, channels, size, size), generator=generator, dtype=torch.uint8)


def augment(recipe: Augmentation, channels: int) -> BatchAugment:
    return BatchAugment(recipe, mean=[0.4] * channels, std=[0.3] * channels, num_classes=10)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 32)])
def test_every_recipe_gives_finite_images_and_targets_that_sum_to_one(name: str, channels: int, size: int) -> None:
    for seed in range(6):
        images, targets = augment(RECIPES[name], channels)(
            random_images(channels, size), LABELS, np.random.default_rng(seed)
        )
        assert images.shape == (12, channels, size, size)
        assert images.dtype == torch.float32
        assert torch.isfinite(images).all()
        if targets.ndim == 2:
            assert torch.allclose(targets.sum(1), torch.ones(12))
        else:
            assert torch.equal(targets, LABELS)


def test_no_augmentation_is_normalization() -> None:
    given = random_images(3, 32)
    images, targets = augment(NO_AUGMENTATION, 3)(given, LABELS, np.random.default_rng(0))
    expected = T.functional.normalize(given.float() / 255, [0.4] * 3, [0.3] * 3)
    assert torch.allclose(images, expected, atol=1e-5)
    assert torch.equal(images, normalize(given, [0.4] * 3, [0.3] * 3))
    assert torch.equal(targets, LABELS)


@pytest.mark.parametrize("name", ["multiplicative", "concatenation", "TransformerBase"])
def test_the_same_seed_gives_the_same_batch(name: str) -> None:
    first, second, other = (
        augment(RECIPES[name], 3)(random_images(3, 32), LABELS, np.random.default_rng(s)) for s in (1, 1, 2)
    )
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize("name", ["multiplicative", "concatenation", "TransformerBase"])
def test_processes_that_share_a_batch_augment_it_as_one_process_would(name: str) -> None:
    recipe = RECIPES[name].model_copy(update={"mixup_alpha": 0.0, "cutmix_alpha": 0.0})
    given = random_images(3, 32)
    whole, _ = augment(recipe, 3)(given, LABELS, np.random.default_rng(5))
    for rank in range(3):
        rows = slice(4 * rank, 4 * rank + 4)
        part, _ = augment(recipe, 3)(given[rows], LABELS[rows], np.random.default_rng(5), rank=rank, world_size=3)
        assert torch.allclose(part, whole[rows], atol=1e-6)


@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0])
def test_mixup_equals_torchvisions(lam: float, monkeypatch: pytest.MonkeyPatch) -> None:
    given = normalize(random_images(3, 32), [0.4] * 3, [0.3] * 3)
    theirs = T.MixUp(num_classes=10, alpha=1.0)
    monkeypatch.setattr(theirs, "make_params", lambda inputs: {"labels": LABELS, "batch_size": 12, "lam": lam})
    images, targets = apply_mix(given, LABELS, Mix(lam, None), 10)
    expected_images, expected_targets = theirs(given, LABELS)
    assert torch.allclose(images, expected_images, atol=1e-6)
    assert torch.allclose(targets, expected_targets, atol=1e-6)


def test_cutmix_equals_torchvisions(monkeypatch: pytest.MonkeyPatch) -> None:
    given = normalize(random_images(3, 32), [0.4] * 3, [0.3] * 3)
    theirs = T.CutMix(num_classes=10, alpha=1.0)
    box = (3, 20, 5, 32)
    lam = 1.0 - (20 - 3) * (32 - 5) / 32**2
    monkeypatch.setattr(
        theirs,
        "make_params",
        lambda inputs: {"labels": LABELS, "batch_size": 12, "box": (5, 3, 32, 20), "lam_adjusted": lam},
    )
    images, targets = apply_mix(given, LABELS, Mix(lam, box), 10)
    expected_images, expected_targets = theirs(given, LABELS)
    assert torch.equal(images, expected_images)
    assert torch.allclose(targets, expected_targets, atol=1e-6)


def test_label_smoothing_of_mixed_targets_is_the_smoothed_mixture() -> None:
    """Cross-entropy with smoothing s on targets t is cross-entropy on (1 - s) t + s / C, mixed or not."""
    _, targets = apply_mix(normalize(random_images(1, 8), [0.4], [0.3]), LABELS, Mix(0.3, None), 10)
    logits = torch.randn(12, 10)
    for given in (targets, F.one_hot(LABELS, 10).float()):
        by_hand = -((0.9 * given + 0.01) * logits.log_softmax(1)).sum(1).mean()
        assert F.cross_entropy(logits, given, label_smoothing=0.1).item() == pytest.approx(by_hand.item(), rel=1e-5)
    plain = F.cross_entropy(logits, LABELS, label_smoothing=0.1)
    assert plain.item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_the_lam_of_cutmix_is_the_fraction_of_the_image_that_remains() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        mix = draw_mix(0.0, 1.0, 8, 8, rng)
        assert mix is not None
        assert mix.box is not None
        top, bottom, left, right = mix.box
        assert mix.lam == pytest.approx(1 - (bottom - top) * (right - left) / 64)
        assert 0 <= top <= bottom <= 8
        assert 0 <= left <= right <= 8


def test_mixup_and_cutmix_alternate_and_follow_their_alphas() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = np.random.default_rng(seed)
    drawn = [draw_mix(0.2, 1.0, 32, 32, rng) for _ in range(2000)]
    cut = [mix for mix in drawn if mix is not None and mix.box is not None]
    assert len(cut) / 2000 == pytest.approx(0.5, abs=0.06)
    mixup_lams = np.array([mix.lam for mix in drawn if mix is not None and mix.box is None])
    # Beta(0.2, 0.2) has mean 1/2 and variance 1 / (4 (2 * 0.2 + 1)).
    assert mixup_lams.mean() == pytest.approx(0.5, abs=0.06)
    assert mixup_lams.var() == pytest.approx(1 / (4 * 1.4), abs=0.03)
    assert draw_mix(0.0, 0.0, 8, 8, rng) is None


def test_erasing_draws_boxes_of_the_right_size_with_the_given_probability() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    boxes = draw_boxes(0.25, 4000, 32, 32, np.random.default_rng(seed))
    erased = boxes[boxes[:, 2] > 0]
    assert len(erased) / 4000 == pytest.approx(0.25, abs=0.035)
    area = erased[:, 2] * erased[:, 3] / 32**2
    assert area.min() > 0.01
    assert area.max() < 0.36
    assert (erased[:, 0] + erased[:, 2] <= 32).all()
    assert (erased[:, 1] + erased[:, 3] <= 32).all()
    images = torch.ones(2, 3, 8, 8)
    erased_images = erase(images, np.array([[1, 2, 3, 4], [0, 0, 0, 0]]))
    assert erased_images[0].sum() == 3 * (64 - 12)
    assert (erased_images[0, :, 1:4, 2:6] == 0).all()
    assert torch.equal(erased_images[1], images[1])


def test_policies_draw_every_operation_equally_often() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = np.random.default_rng(seed)
    stages = draw_stages("RandAugment", (3, 14), 4000, rng)
    assert len(stages) == 3
    counts = Counter(stages[1].ops.tolist())
    assert set(counts) == set(range(len(OPS)))
    assert max(counts.values()) < 2 * min(counts.values())
    assert set(stages[0].bins.tolist()) == {14}
    (trivial,) = draw_stages("TrivialAugmentWide", (3, 14), 4000, rng)
    assert set(trivial.bins.tolist()) == set(range(31))


@pytest.mark.parametrize("size", [8, 32])
def test_magnitudes_equal_torchvisions(size: int) -> None:
    bins, ones = np.arange(31), np.ones(31)
    pairs = [
        (randaugment_space(size, size), T.RandAugment._AUGMENTATION_SPACE),
        (trivial_space(size, size), T.TrivialAugmentWide._AUGMENTATION_SPACE),
    ]
    for ours, theirs in pairs:
        assert set(theirs) == set(OPS)
        for op, (magnitudes, signed) in theirs.items():
            expected = magnitudes(31, size, size)
            if expected is None:
                continue
            centre = 1.0 if op in ("Brightness", "Color", "Contrast", "Sharpness") else 0.0
            assert np.allclose(ours.magnitudes(op, bins, ones), np.asarray(expected) + centre, atol=1e-4), op
            if signed:
                assert np.allclose(ours.magnitudes(op, bins, -ones), centre - np.asarray(expected), atol=1e-4), op


def test_color_jitter_draws_an_order_for_every_image() -> None:
    draw = draw_jitter((0.2, 0.2, 0.2, 0.1), 2400, np.random.default_rng(0))
    counts = Counter(map(tuple, draw.order.T.tolist()))
    assert len(counts) == 24
    assert min(counts.values()) > 60


def test_color_jitter_applies_the_operations_of_every_image_in_its_order() -> None:
    images = random_images(3, 8).float()
    draw = draw_jitter((0.5, 0.5, 0.5, 0.3), 12, np.random.default_rng(1))
    changed = apply_jitter(images, draw)
    for index in range(12):
        image = images[index : index + 1]
        for op in draw.order[:, index]:
            image = JITTER_OPS[op](
                image, torch.tensor(draw.factors[op, index], dtype=torch.float32).reshape(1, 1, 1, 1)
            )
        assert torch.equal(changed[index : index + 1], image)
    part = apply_jitter(images[4:8], draw.rows(slice(4, 8)))
    assert torch.equal(part, changed[4:8])
