"""An example comparison for the OpenAPI description."""

from __future__ import annotations

from typing import Any

_MODEL: dict[str, Any] = {
    "job": "job_01M85N3F36VFE5DRETSBRX1ADS",
    "name": "digits fusion",
    "path": "fused",
    "accuracy": 0.975,
    "low": 0.9556,
    "high": 0.9889,
    "nll": 0.103,
    "ece": 0.0214,
    "scaled": None,
    "not_scaled": "86 validation images are too few to fit a temperature: it takes 500",
}
COMPARISON: dict[str, Any] = {
    "sentence": "fused is 1.1 points better than ensemble_logits, 95 % interval -0.3 to 2.5, p = 0.22: "
    "not distinguishable on 360 images",
    "split": "test",
    "dataset": "digits",
    "num_images": 360,
    "a": _MODEL,
    "b": _MODEL | {"path": "ensemble_logits", "accuracy": 0.9639, "low": 0.9417, "high": 0.9806, "nll": 0.161},
    "difference": {
        "value": 0.0111,
        "low": -0.0028,
        "high": 0.025,
        "excludes_zero": False,
        "only_a": 5,
        "only_b": 1,
        "p": 0.2188,
    },
    "disagreement": 0.025,
    "oracle": 0.9778,
    "by_class": [{"label": 0, "num_images": 38, "a": 1.0, "b": 0.9737}],
}
