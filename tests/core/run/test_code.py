"""The digest of the code is that of its files, whenever they are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.jobs.content import DataColumns, columns_of_submission
from app.settings import Settings
from core.run import code
from core.run.code import code_digest, code_status
from core.run.environment import installed_software, software
from core.spec import parse_spec


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two modules that take the place of `core`."""
    folder = tmp_path / "core"
    (folder / "fusion").mkdir(parents=True)
    (folder / "fit.py").write_text("lr = 1")
    (folder / "fusion" / "sum.py").write_text("scale = 1")
    monkeypatch.setattr(code, "PACKAGE", folder)
    return folder


def test_an_edited_renamed_or_added_file_changes_the_digest(package: Path) -> None:
    digests = [code_digest()]
    (package / "fusion" / "sum.py").write_text("scale = 2")
    digests.append(code_digest())
    (package / "fusion" / "sum.py").rename(package / "fusion" / "mean.py")
    digests.append(code_digest())
    (package / "new.py").write_text("")
    digests.append(code_digest())
    assert len(set(digests)) == 4


def test_where_the_code_is_and_when_it_was_written_say_nothing(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, status = code_digest(), code_status([package])
    (package / "fit.py").touch()
    (package / "notes.txt").write_text("no code")
    assert code_status([package]) != status
    assert code_digest() == before
    package.rename(package.with_name("moved"))
    monkeypatch.setattr(code, "PACKAGE", package.with_name("moved"))
    assert code_digest() == before


def test_files_are_read_again_only_once_one_was_written(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code_digest()
    real = Path.read_bytes
    read: list[str] = []

    def reading(path: Path) -> bytes:
        read.append(path.name)
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", reading)
    code_digest()
    assert read == []
    (package / "fit.py").write_text("lr = 2")
    code_digest()
    assert read == ["fit.py", "sum.py"]


def test_a_process_keeps_the_digest_of_what_it_has_imported(package: Path) -> None:
    software.cache_clear()
    try:
        before = software()
        (package / "fit.py").write_text("lr = 2")
        assert software() == before
        assert installed_software() != before
    finally:
        software.cache_clear()


def test_what_is_compared_with_other_jobs_has_the_code_that_is_there_now(package: Path, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    spec = parse_spec({"kind": "expert", "expert": {"arch": "convnet_small"}, "dataset": {"name": "cifar10"}})
    before = DataColumns(settings).of(spec)["software_key"]
    (package / "fit.py").write_text("lr = 2")
    assert DataColumns(settings).of(spec)["software_key"] != before


def test_a_single_job_is_submitted_without_looking_for_edited_files(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, dataset = Settings(data_dir=tmp_path / "data"), {"name": "cifar10"}
    fusion = {"kind": "fusion", "experts": [{"arch": "convnet_small"}], "num_experts": 2, "dataset": dataset}
    software.cache_clear()
    try:
        key = software().key
        (package / "fit.py").write_text("lr = 2")
        assert columns_of_submission(settings, parse_spec(fusion | {"controls": True}))["software_key"] != key
        monkeypatch.setattr(code, "PACKAGE", None)
        assert columns_of_submission(settings, parse_spec(fusion))["software_key"] == key
    finally:
        software.cache_clear()
