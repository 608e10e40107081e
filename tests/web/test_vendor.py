"""Files of other projects: all listed, with digest and licence, and equal to their packages."""

from __future__ import annotations

import hashlib
import os
import shutil

import pytest

from app.web import vendor


def test_every_vendored_file_is_listed_with_its_digest_and_licence() -> None:
    listed = {
        vendor.target(package, path): digest
        for package in vendor.packages()
        for path, digest in package["files"].items()
    }
    present = {path for path in (vendor.STATIC / "vendor").rglob("*") if path.is_file()}
    assert present == set(listed)
    assert {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in present} == listed
    for package in vendor.packages():
        assert package["licence"]
        assert (vendor.STATIC / "vendor" / package["folder"] / "LICENSE").is_file()


def test_the_files_are_as_packaged(capsys: pytest.CaptureFixture[str]) -> None:
    if shutil.which("npm") is None:
        assert os.environ.get("CI") != "true"
        pytest.skip("needs npm")
    assert vendor.main(["--check"]) == 0, capsys.readouterr().out
