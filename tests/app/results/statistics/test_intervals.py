"""Intervals hold what they promise: how often they cover the truth, and how often they exclude 0 without reason."""

from __future__ import annotations

import numpy as np
import pytest

from app.results.statistics.agreement import discordance
from app.results.statistics.intervals import accuracy_interval, difference_interval
from app.results.statistics.mcnemar import exact_p

pytestmark = pytest.mark.slow

SIMULATIONS = 1_000


def simulated(seed: int, num_images: int, only_a: float, only_b: float) -> np.ndarray:
    """Of each simulation, the images that a alone and that b alone classifies correctly."""
    print(f"seed {seed}")
    shares = [only_a, only_b, 1.0 - only_a - only_b]
    return np.random.default_rng(seed).multinomial(num_images, shares, size=SIMULATIONS)[:, :2]


def test_the_difference_of_equal_models_excludes_zero_in_five_of_a_hundred_pairs() -> None:
    """The bootstrap interval, at 5 % +- 1; the exact test of McNemar is conservative, so it stays below 5 %.

    Over 5,000 pairs it excludes 4.8 % and the exact test rejects 4.7 %; on 360 images, 4.0 % and 3.1 %.
    """
    pairs = simulated(seed=1, num_images=10_000, only_a=0.05, only_b=0.05)
    intervals = [difference_interval(a, b, 10_000, seed=number) for number, (a, b) in enumerate(pairs)]
    excluded = np.mean([interval.excludes_zero for interval in intervals])
    rejected = np.mean([exact_p(a, b) < 0.05 for a, b in pairs])
    print(f"the interval excludes 0: {excluded:.3f}; exact McNemar rejects: {rejected:.3f}")
    assert 0.04 <= excluded <= 0.06
    assert rejected <= 0.05


@pytest.mark.parametrize(
    ("num_images", "only_a", "only_b"), [(1_000, 0.06, 0.04), (360, 0.05, 0.03), (10_000, 0.05, 0.04)]
)
def test_the_interval_covers_a_known_difference(num_images: int, only_a: float, only_b: float) -> None:
    pairs = simulated(5, num_images, only_a, only_b)
    intervals = [difference_interval(a, b, num_images, resamples=2_000) for a, b in pairs]
    # Both ends belong to the interval; the true difference is a number of images too.
    covered = np.mean([low - 1e-9 <= only_a - only_b <= high + 1e-9 for low, high in intervals])
    print(f"covered: {covered:.3f}")
    assert abs(covered - 0.95) <= 0.015


@pytest.mark.parametrize(("num_images", "accuracy"), [(360, 0.975), (1_000, 0.9), (10_000, 0.8)])
def test_the_interval_covers_a_known_accuracy(num_images: int, accuracy: float) -> None:
    print("seed 7")
    counts = np.random.default_rng(7).binomial(num_images, accuracy, size=SIMULATIONS)
    intervals = [accuracy_interval(count, num_images, resamples=2_000) for count in counts]
    covered = np.mean([low - 1e-9 <= accuracy <= high + 1e-9 for low, high in intervals])
    print(f"covered: {covered:.3f}")
    # On a few hundred images a whole image is a large step, so that intervals cover more than they promise.
    assert 0.935 <= covered <= 0.98


def test_counts_stand_for_resampled_images() -> None:
    """The plain paired bootstrap over images gives the same interval where many images differ."""
    print("seed 11")
    rng = np.random.default_rng(11)
    correct_a, correct_b = rng.random(500) < 0.8, rng.random(500) < 0.75
    rows = rng.integers(0, 500, size=(10_000, 500))
    differences = correct_a[rows].mean(axis=1) - correct_b[rows].mean(axis=1)
    interval = difference_interval(*discordance(correct_a, correct_b), 500)
    assert list(interval) == pytest.approx(np.quantile(differences, [0.025, 0.975]), abs=0.005)


def test_an_interval_repeats_itself_and_never_is_a_point() -> None:
    assert difference_interval(12, 5, 360) == difference_interval(12, 5, 360)
    assert difference_interval(900, 700, 10_000, seed=1) != difference_interval(900, 700, 10_000, seed=2)
    low, high = difference_interval(0, 0, 360)
    assert -2 / 360 <= low < 0 < high <= 2 / 360
    low, high = accuracy_interval(360, 360)
    assert 0.98 < low < high == 1.0


def test_swapping_the_models_turns_every_interval_round() -> None:
    """Also where an end is close to 0, so that the verdict is the same in both orders."""
    for num_images in (360, 10_000):
        for only_a in range(30):
            for only_b in range(30):
                low, high = difference_interval(only_a, only_b, num_images, resamples=1_000)
                swapped = difference_interval(only_b, only_a, num_images, resamples=1_000)
                assert (-swapped.high, -swapped.low) == (low, high), (only_a, only_b, num_images)
    assert difference_interval(7, 1, 360).excludes_zero == difference_interval(1, 7, 360).excludes_zero


def test_an_interval_is_of_ten_thousand_resamples() -> None:
    """With 1,000 the ends move by 2.4 images from seed to seed here, with 10,000 by 0.9."""
    ends = np.array([difference_interval(430, 370, 10_000, seed=seed) for seed in range(40)]) * 10_000
    assert ends.std(axis=0).max() < 1.0
    assert difference_interval(430, 370, 10_000) == difference_interval(430, 370, 10_000, resamples=10_000)
