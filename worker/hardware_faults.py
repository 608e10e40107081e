"""Recognises failing hardware by what drivers and libraries print."""

from __future__ import annotations

import re

_HARDWARE = re.compile(
    r"uncorrectable ECC|\bXid\b|CUDA error: (unknown error|unspecified launch failure|hardware)"
    r"|CUDA unknown error|GPU has fallen off the bus",
    re.IGNORECASE,
)


def is_hardware_fault(text: str) -> bool:
    """Whether an error message or a log reports a failing device rather than a mistake in the program or its input."""
    return _HARDWARE.search(text) is not None
