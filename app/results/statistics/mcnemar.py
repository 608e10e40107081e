"""The exact test of McNemar: whether two models are right equally often on the same images."""

from __future__ import annotations


def exact_p(only_a: int, only_b: int) -> float:
    """The two-sided p value, from the images that only one of the two models classifies correctly.

    Under the null hypothesis each of these images is as likely to be a's as b's (McNemar 1947). The exact test never
    rejects too often; with few such images it rejects less often than its level says.
    """
    from scipy.stats import binomtest

    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
