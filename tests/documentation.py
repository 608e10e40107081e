"""The pages of the documentation, and what tests take from them: code blocks, scripts and commands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = {
    str(page.relative_to(ROOT)): page.read_text()
    for page in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "CHANGELOG.md",
        *sorted((ROOT / "docs").glob("*.md")),
    )
}


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page in one language, indented ones too."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", PAGES[page], re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, text in found]


def curl_scripts() -> dict[str, str]:
    """The commands with curl, as one script for each page that has any."""
    scripts = {page: "".join(text for text in blocks(page, "bash") if "mcurl" in text) for page in PAGES}
    return {page: script for page, script in scripts.items() if script}


def commands(program: str) -> list[list[str]]:
    """Every call of a program in the pages' shell examples, as words after the program's own."""
    calls = []
    for page in PAGES:
        for line in "".join(blocks(page, "bash")).splitlines():
            match = re.search(rf"(?:^|\(|exec \w+ |^ +){re.escape(program)} ([^)]*)", line)
            if match:
                calls.append(shlex.split(match[1], comments=True))
    return calls
