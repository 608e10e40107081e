"""What training tells a person about at once: nothing here stops or slows it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from core.reporting.protocol import Reporter

AlertCode = Literal[
    "accuracy_at_chance",
    "changed_data",
    "changed_environment",
    "damaged_checkpoint",
    "dead_expert",
    "fusion_does_not_pay",
    "loss_not_finite",
    "test_images_in_training",
    "tracking_failed",
]


@dataclass(frozen=True)
class Alert:
    """An alert. `subject` is what it is about, such as `expert_1`, and `step` the step at which it was noticed.

    One that is raised again with the same code and subject is the same alert if `once` is true; otherwise only if it
    has the same step too, as when a run resumes and does that step again.
    """

    code: AlertCode
    title: str
    message: str
    level: Literal["warning", "error"] = "warning"
    subject: str | None = None
    step: int | None = None
    once: bool = False

    def raise_to(self, reporter: Reporter) -> None:
        """Reports the alert as an event."""
        reporter.emit("alert", self.to_json())

    def to_json(self) -> dict[str, Any]:
        """As an event; `key` is the same for the same alert."""
        data = asdict(self)
        data["key"] = ":".join(map(str, (self.code, self.subject or "", "" if data.pop("once") else self.step)))
        return data
