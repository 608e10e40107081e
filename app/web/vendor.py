"""Fetches the files of other projects that the dashboard serves: `python -m app.web.vendor [--check]`, with npm.

The packages, their versions and their digests are in vendor.toml. Users need neither npm nor this module.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path
from typing import Any

WEB = Path(__file__).parent
LIST = WEB / "vendor.toml"
STATIC = WEB / "static"
ICONS = STATIC / "icons.svg"


class VendorError(Exception):
    """A package differs from what vendor.toml records."""


def packages() -> list[dict[str, Any]]:
    """The packages in vendor.toml."""
    listed: list[dict[str, Any]] = tomllib.loads(LIST.read_text())["package"]
    return listed


def fetch(package: dict[str, Any]) -> dict[Path, bytes]:
    """The files that vendor.toml takes from a package, by their place below `STATIC`; raises VendorError."""
    with tempfile.TemporaryDirectory() as folder:
        name = f"{package['name']}@{package['version']}"
        packed = subprocess.run(["npm", "pack", "--json", name], cwd=folder, capture_output=True, text=True, check=True)
        archive = Path(folder) / json.loads(packed.stdout)[0]["filename"]
        digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if f"sha512-{digest}" != package["integrity"]:
            raise VendorError(f"{name}: integrity is sha512-{digest}, vendor.toml records {package['integrity']}")
        with tarfile.open(archive) as tar:
            files = {target(package, path): _read(tar, path) for path in package["files"]}
            if "icons" in package:
                symbols = [_symbol(icon, _read(tar, f"icons/{icon}.svg").decode()) for icon in package["icons"]]
                files[ICONS] = sprite(symbols).encode()
    return files


def target(package: dict[str, Any], path: str) -> Path:
    """Where a file of a package is kept."""
    return STATIC / "vendor" / str(package["folder"]) / Path(path).name


def _read(tar: tarfile.TarFile, path: str) -> bytes:
    member = tar.extractfile(f"package/{path}")
    if member is None:
        raise VendorError(f"the package has no file {path}")
    return member.read()


def _symbol(name: str, svg: str) -> str:
    content = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    inner = re.search(r"<svg[^>]*>(.*)</svg>", content, re.DOTALL)
    if inner is None:
        raise VendorError(f"the icon {name} is not an SVG")
    return f'<symbol id="{name}" viewBox="0 0 24 24">{"".join(inner.group(1).split(chr(10))).strip()}</symbol>'


def sprite(symbols: list[str]) -> str:
    """One SVG file of all icons, for `<use href="icons.svg#name">`."""
    lines = "\n".join(re.sub(r">\s+<", "><", symbol) for symbol in symbols)
    return f'<svg xmlns="http://www.w3.org/2000/svg">\n{lines}\n</svg>\n'


def main(arguments: list[str] | None = None) -> int:
    """Writes the files and their digests, or with --check compares them; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    check = parser.parse_args(arguments).check
    text = LIST.read_text()
    different = []
    for package in packages():
        for path, content in fetch(package).items():
            if check and (not path.is_file() or path.read_bytes() != content):
                different.append(str(path.relative_to(WEB)))
            elif not check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        for path in package["files"]:
            digest = hashlib.sha256(target(package, path).read_bytes()).hexdigest()
            text = _with_digest(text, package, path, digest)
    if check:
        print("\n".join(f"{path} differs from its package" for path in different) or "All files are as packaged.")
        return 1 if different or text != LIST.read_text() else 0
    LIST.write_text(text)
    return 0


def _with_digest(text: str, package: dict[str, Any], path: str, digest: str) -> str:
    start = text.index(f'name = "{package["name"]}"')
    pattern = re.compile(rf'("{re.escape(path)}" = )"[0-9a-f]*"')
    return text[:start] + pattern.sub(rf'\1"{digest}"', text[start:], count=1)


if __name__ == "__main__":
    sys.exit(main())
