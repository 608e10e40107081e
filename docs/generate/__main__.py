"""Writes the generated parts of README.md and docs/*.md; `--check` writes nothing and exits 1 if one is out of date.

A generated part stands between `<!-- begin NAME -->` and `<!-- end NAME -->`. `REGIONS` has one function for every
NAME; everything outside the two marks is written by hand.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

from docs.generate import cli, spec, tables

ROOT = Path(__file__).parents[2]
REGIONS: dict[str, Callable[[], str]] = {
    "architectures": tables.architectures,
    "cli-core": cli.core_reference,
    "cli-mcn": cli.mcn_reference,
    "datasets": tables.datasets,
    "edges": tables.edges,
    "errors": tables.errors,
    "fusion-types": tables.fusion_types,
    "reasons": tables.reasons,
    "routes": tables.routes,
    "settings": tables.settings,
    "spec": spec.reference,
    "state-graph": tables.state_graph,
}
_REGION = re.compile(r"(<!-- begin ([a-z-]+) -->\n).*?(<!-- end \2 -->)", re.DOTALL)


def pages() -> list[Path]:
    """Every page that may hold generated parts."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def regions_of(text: str) -> list[str]:
    """The names of the generated parts of a page."""
    return [match[2] for match in _REGION.finditer(text)]


def generate(text: str) -> str:
    """A page with its generated parts written anew; raises KeyError for a name that `REGIONS` does not have."""
    return _REGION.sub(lambda match: f"{match[1]}{REGIONS[match[2]]().strip()}\n{match[3]}", text)


def main(arguments: list[str]) -> int:
    """Updates every page, or with `--check` names those that are out of date."""
    outdated = []
    for page in pages():
        before = page.read_text()
        after = generate(before)
        if after != before:
            outdated.append(page)
            if "--check" not in arguments:
                page.write_text(after)
    names = ", ".join(str(page.relative_to(ROOT)) for page in outdated)
    if "--check" not in arguments:
        print(f"Updated: {names or 'nothing, all pages are current'}")
        return 0
    if outdated:
        print(f"{names}: the generated parts do not match the code. Run `make docs` and commit the result.")
    return 1 if outdated else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
