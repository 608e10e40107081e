"""What the evaluation at the end of a job keeps besides its figures."""

from __future__ import annotations

from typing import Literal

from core.spec.fields import SpecModel


class EvaluationOptions(SpecModel):
    """What is kept of the evaluation at the end, besides its figures. It changes no result, and so no reuse.

    Predictions are the logits of every path on the validation and the test images, in a file for each. `auto` stores
    float32, float16 where a file would exceed 64 MiB, and nothing where it would exceed 1 GiB, both counted as float32;
    `true` stores them whatever their size, `false` never.
    """

    store_predictions: Literal["auto"] | bool = "auto"
