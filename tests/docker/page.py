"""The command lines of docs/production.md."""

from __future__ import annotations

import re

from tests.docker.files import PRODUCTION


def blocks(heading: str, language: str = "bash") -> list[str]:
    """The code blocks of a section, without those of the sections below it."""
    start = rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)"
    [section] = re.findall(start, _without_comments(), re.DOTALL | re.MULTILINE)
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)


def _without_comments() -> str:
    """The page without comments at the end of a line of code."""
    return re.sub(r" +# .*$", "", PRODUCTION, flags=re.MULTILINE)


def lines(heading: str, block: int = 0) -> list[str]:
    """The lines of one of these blocks, a continued line as one."""
    return blocks(heading)[block].replace("\\\n", "").splitlines()
