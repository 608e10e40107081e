"""What failing hardware says of itself."""

from __future__ import annotations

import re

_HARDWARE = re.compile(
    r"uncorrectable ECC|\bXid\b|CUDA error: (unknown error|unspecified launch failure|hardware)"
    r"|CUDA unknown error|GPU has fallen off the bus",
    re.IGNORECASE,
)


def is_hardware_fault(text: str) -> bool:
    """Whether an error or a log speaks of a device that fails, rather than of a mistake in what it was given."""
    return _HARDWARE.search(text) is not None
