from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from core.run.durable import DamagedFileError, read_manifest, sha256_of, write_hashed, write_manifest
from core.train.checkpoint import load_checkpoint, load_newest, save_checkpoint
from core.train.writer import Writer


def save(folder: Path, step: int, keep: int = 3) -> Path:
    return save_checkpoint(
        folder, {"weights": torch.full((64,), float(step)), "n": step}, step=step, epoch=1, keep=keep
    )


def refuse(damage: DamagedFileError) -> None:
    raise AssertionError(damage)


def test_a_checkpoint_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    weights = torch.randn(3, 2, 4, 4).contiguous(memory_format=torch.channels_last)
    state = {"a": weights, "b": {"c": [1, 2.5, "x", None]}}
    path = save_checkpoint(tmp_path, state, step=7, epoch=2, keep=1)
    loaded = load_checkpoint(path)
    assert (loaded.step, loaded.epoch, loaded.state["b"]) == (7, 2, state["b"])
    assert torch.equal(loaded.state["a"], weights)
    assert loaded.state["a"].stride() == weights.stride()


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    for step in (1, 5, 9, 12):
        save(tmp_path, step, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000009", "step-000000012"]


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    save(tmp_path, 5)
    save_checkpoint(tmp_path, {"again": 1}, step=5, epoch=1, keep=3)
    newest = load_newest(tmp_path, refuse)
    assert newest is not None
    assert newest.state == {"again": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000005"]


def test_a_step_saved_again_is_there_before_the_old_one_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 5)
    monkeypatch.setattr("core.train.checkpoint.shutil.rmtree", lambda path, ignore_errors=False: None)
    save_checkpoint(tmp_path, {"again": 1}, step=5, epoch=1, keep=1)
    newest = load_newest(tmp_path, refuse)
    assert newest is not None
    assert newest.state == {"again": 1}


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert load_newest(tmp_path / "checkpoints", refuse) is None


@pytest.mark.parametrize("name", ["state.pth", "manifest.json"])
def test_one_flipped_bit_is_never_loaded_and_the_one_before_is_used(tmp_path: Path, name: str) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    save(tmp_path, 1)
    newest = save(tmp_path, 2)
    file = newest / name
    content = file.read_bytes()
    for _ in range(40):
        bit = chance.randrange(len(content) * 8)
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        seen: list[DamagedFileError] = []
        loaded = load_newest(tmp_path, seen.append)
        assert loaded is not None
        assert loaded.step == 1, f"bit {bit} of {name}"
        assert str(file) in str(seen[0])


@pytest.mark.parametrize("name", ["state.pth", "manifest.json"])
def test_a_file_cut_short_or_missing_is_never_loaded(tmp_path: Path, name: str) -> None:
    save(tmp_path, 1)
    newest = save(tmp_path, 2)
    file = newest / name
    content = file.read_bytes()
    for length in (0, 1, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:length])
        with pytest.raises(DamagedFileError, match=name):
            load_checkpoint(newest)
    file.unlink()
    with pytest.raises(DamagedFileError, match=name):
        load_checkpoint(newest)
    assert load_newest(tmp_path, lambda damage: None) is not None


def test_a_draft_left_by_a_crash_is_not_seen_and_is_cleared_by_the_next_save(tmp_path: Path) -> None:
    draft = tmp_path / ".step-000000009.1.tmp"
    draft.mkdir()
    (draft / "state.pth").write_bytes(b"half")
    assert load_newest(tmp_path, refuse) is None
    save(tmp_path, 3)
    assert not draft.exists()


def test_a_failed_save_leaves_what_was_there(tmp_path: Path) -> None:
    save(tmp_path, 1)
    with pytest.raises(Exception, match="pickle"):
        save_checkpoint(tmp_path, {"no": lambda: None}, step=2, epoch=1, keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000001"]


def test_a_manifest_notices_any_edit(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    write_manifest(path, {"step": 1, "name": "x"})
    assert read_manifest(path) == {"step": 1, "name": "x"}
    path.write_text(path.read_text().replace('"step": 1', '"step": 2'))
    with pytest.raises(DamagedFileError):
        read_manifest(path)


def test_a_snapshot_does_not_change_with_the_model_and_reuses_its_memory() -> None:
    writer = Writer()
    weights = torch.ones(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    state = {"a": weights, "b": [torch.zeros(2), 1, "x"]}
    first = writer.snapshot(state)
    place = first["a"].data_ptr()
    weights.fill_(7)
    assert first["a"].eq(1).all()
    second = writer.snapshot(state)
    assert second["a"].eq(7).all()
    assert (second["a"].data_ptr(), second["a"].stride(), second["b"][1:]) == (place, weights.stride(), [1, "x"])
    writer.close()


def test_a_failed_write_is_raised_by_the_next_call() -> None:
    writer = Writer()

    def fail() -> None:
        raise OSError("no space left on device")

    writer.submit(fail)
    with pytest.raises(OSError, match="no space left"):
        writer.snapshot({})
    writer.flush()
    writer.close()


def test_a_file_knows_the_hash_of_what_was_written(tmp_path: Path) -> None:
    digest = write_hashed(tmp_path / "file", lambda file: [file.write(b"abc"), file.write(memoryview(b"def"))])
    assert (tmp_path / "file").read_bytes() == b"abcdef"
    assert digest == sha256_of(tmp_path / "file")


def test_damaged_checkpoints_of_later_steps_do_not_push_out_new_ones(tmp_path: Path) -> None:
    for step in (10, 20):
        (save(tmp_path, step, keep=2) / "state.pth").write_bytes(b"damaged")
    damaged: list[DamagedFileError] = []
    assert load_newest(tmp_path, damaged.append) is None
    assert len(damaged) == 2
    save(tmp_path, 5, keep=2)
    newest = load_newest(tmp_path, refuse)
    assert newest is not None
    assert newest.step == 5
    assert {path.name for path in tmp_path.glob("damaged-*")} == {"damaged-step-000000010", "damaged-step-000000020"}
    # They are reached again, and damaged again.
    (save(tmp_path, 10, keep=2) / "state.pth").write_bytes(b"damaged")
    save(tmp_path, 7, keep=2)
    newest = load_newest(tmp_path, refuse)
    assert newest is not None
    assert newest.step == 7
