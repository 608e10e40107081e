"""Accuracies and their differences in plain words."""

from __future__ import annotations

from app.jobs.wording import count
from app.jobs.wording import p_text as p_text
from app.results.predictions.schemas import Difference, Model

LEVEL = 0.05


def sentence(first: str, second: str, difference: Difference, num_images: int) -> str:
    """What a comparison says about the models named `first` and `second`, in points of accuracy."""
    points = 100.0 * abs(difference.value)
    amount = f"{points:.1f}" if points >= 0.05 else f"{points:.2g}"
    if difference.value == 0:
        what = f"{first} and {second} are equally accurate"
    else:
        what = f"{first} is {amount} points {'better' if difference.value > 0 else 'worse'} than {second}"
    interval = f"95 % interval {_signed(difference.low)} to {_signed(difference.high)}"
    return f"{what}, {interval}, {p_text(difference.p)}: {verdict(difference)} on {count(num_images, 'image')}"


def verdict(difference: Difference) -> str:
    """Whether the images tell the models apart, by the interval and the exact test."""
    rejects = difference.p < LEVEL
    if difference.excludes_zero and rejects:
        return "distinguishable"
    if difference.excludes_zero or rejects:
        return "barely distinguishable, interval and exact test do not agree,"
    return "not distinguishable"


def interval_text(model: Model) -> str:
    """The 95 % interval of an accuracy in percent, such as `81.2 to 92.0`; empty where there is none."""
    return "" if model.low is None or model.high is None else f"{100 * model.low:.1f} to {100 * model.high:.1f}"


def signed_points(share: float) -> str:
    """A difference of accuracies in points with its sign, such as `+1.1`."""
    text = f"{100.0 * share:+.1f}"
    return "0.0" if text in ("-0.0", "+0.0") else text


def _signed(share: float) -> str:
    """A share in points. A minus as a keyboard has it can be searched for in a terminal."""
    text = f"{100.0 * share:.1f}"
    return "0.0" if text == "-0.0" else text
