"""Numbers and short texts as the tables print them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

BAR_WIDTH = 16
# A status is one line of a table.
MAX_STATUS = 60


def format_duration(seconds: float) -> str:
    """Seconds as `5s`, `2m 05s` or `3h 07m`."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 60}m {whole % 60:02d}s" if whole >= 60 else f"{whole}s"


def shorten(text: str, length: int) -> str:
    """The text, cut to `length` characters with an ellipsis."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def format_progress(progress: Mapping[str, Any], bar_width: int = BAR_WIDTH) -> str:
    """The fraction done as a bar and in percent."""
    done = round(progress["fraction"] * bar_width)
    return f"{'━' * done}{'╌' * (bar_width - done)} {100 * progress['fraction']:3.0f} %".lstrip()


def format_accuracy(metrics: Mapping[str, float | None]) -> str:
    """The most telling accuracy: test before validation, the fused path before a single expert."""
    for split in ("test", "val"):
        for path in ("fused", "expert_0"):
            value = metrics.get(f"{split}/accuracy_{path}")
            if value is not None:
                return f"{split} {value:.3f}"
    return ""


def format_status(job: Mapping[str, Any]) -> str:
    """The speed and time left of a running job; otherwise what it waits for, or why it is in its state."""
    if job["state"] == "running":
        speed, eta = job["progress"]["images_per_s"], job["progress"]["eta_s"]
        parts = [f"{speed:,.0f} img/s" if speed else "", f"{format_duration(eta)} left" if eta else ""]
        return "  ".join(part for part in parts if part)
    if job["state"] == "waiting":
        return "for 1 job" if len(job["waits_for"]) == 1 else f"for {len(job['waits_for'])} jobs"
    if job["state"] == "paused" and not job["message"]:
        return "`mcn resume ID`"
    if job["reason"] == "user" and not job["message"]:
        return "by a user"
    return shorten((job["message"] or job["reason"] or "").partition("\n")[0], MAX_STATUS)
