from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import safetensors
import torch

from core.components import (
    FORMATS,
    convert_component,
    link_component,
    load_component,
    read_component_manifest,
    save_component,
    well_known_path,
)
from core.run.durable import DamagedFileError

STATE = {
    "conv.weight": torch.randn(8, 3, 3, 3).contiguous(memory_format=torch.channels_last),
    "norm.num_batches_tracked": torch.tensor(3),
    "head.weight": torch.randn(4, 8),
}
CONFIG = {"role": "expert", "arch": "convnet_small", "classes": [0, 1, 2, 3]}


def save(folder: Path, name: str = "expert_0", epoch: int = 1, shift: float = 0.0) -> dict[str, Any]:
    state = {key: value + shift if value.is_floating_point() else value for key, value in STATE.items()}
    metrics = {"accuracy_expert_0": 0.5}
    return save_component(
        folder, name, state, CONFIG, epoch=epoch, step=10, metrics=metrics, selected_by="accuracy_expert_0"
    )


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("expert_3", "experts/expert_3_best"),
        ("fusion", "fusion/fusion_module_best"),
        ("head", "global/global_head_best"),
        ("complete", "complete_fusion_best"),
    ],
)
def test_every_component_has_its_well_known_path(tmp_path: Path, name: str, path: str) -> None:
    assert well_known_path(name) == path
    save(tmp_path, name)
    assert all((tmp_path / f"{path}.{suffix}").is_file() for suffix in FORMATS)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_loaded_component_equals_the_saved_one(tmp_path: Path, suffix: str) -> None:
    save(tmp_path)
    component = load_component(tmp_path / f"experts/expert_0_best.{suffix}")
    assert component.role == "expert"
    assert component.config["classes"] == [0, 1, 2, 3]
    assert all(torch.equal(component.state_dict[key], value) for key, value in STATE.items())


def test_the_files_are_plain_torch_and_safetensors(tmp_path: Path) -> None:
    save(tmp_path)
    content = torch.load(tmp_path / "experts/expert_0_best.pth", weights_only=True)
    assert set(content) == {"state_dict", "config"}
    with safetensors.safe_open(tmp_path / "experts/expert_0_best.safetensors", framework="pt") as file:
        assert set(file.keys()) == set(STATE)
        assert "config" in (file.metadata() or {})


def test_the_manifest_has_size_digest_and_epoch(tmp_path: Path) -> None:
    manifest = save(tmp_path, epoch=7)
    assert read_component_manifest(tmp_path, "expert_0") == manifest
    assert (manifest["epoch"], manifest["metrics"]["accuracy_expert_0"]) == (7, 0.5)
    for suffix, entry in manifest["files"].items():
        assert entry["name"] == f"expert_0_best.{suffix}"
        assert (tmp_path / entry["file"]).stat().st_size == entry["bytes"]


def test_a_newer_version_replaces_the_older_one_and_its_files(tmp_path: Path) -> None:
    save(tmp_path, epoch=1)
    save(tmp_path, epoch=2, shift=1.0)
    assert len(list((tmp_path / "blobs").iterdir())) == len(FORMATS)
    component = load_component(tmp_path / "experts/expert_0_best.pth")
    assert torch.equal(component.state_dict["head.weight"], STATE["head.weight"] + 1.0)


def test_a_well_known_path_that_a_crash_left_stale_is_relinked(tmp_path: Path) -> None:
    save(tmp_path, epoch=1)
    path = tmp_path / "experts/expert_0_best.pth"
    stale = path.read_bytes()
    manifest = save(tmp_path, epoch=2, shift=1.0)
    path.unlink()
    path.write_bytes(stale)
    assert torch.equal(load_component(path).state_dict["head.weight"], STATE["head.weight"])
    link_component(tmp_path, manifest)
    assert torch.equal(load_component(path).state_dict["head.weight"], STATE["head.weight"] + 1.0)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("copied", [False, True], ids=["in its run", "copied elsewhere"])
def test_one_flipped_bit_is_never_loaded(tmp_path: Path, suffix: str, copied: bool) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    save(tmp_path)
    file = tmp_path / f"experts/expert_0_best.{suffix}"
    content = file.read_bytes()
    if copied:
        file = tmp_path / "elsewhere" / file.name
        file.parent.mkdir()
    for _ in range(60):
        bit = rng.randrange(len(content) * 8)
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        file.unlink(missing_ok=True)
        file.write_bytes(damaged)
        try:
            component = load_component(file)
        except (DamagedFileError, ValueError) as error:
            message = str(error)
        else:
            message = str(file)
            # Without a manifest beside it, a bit in the archive's metadata can flip without changing the content.
            assert copied, f"bit {bit}"
            assert all(torch.equal(component.state_dict[key], value) for key, value in STATE.items())
            assert component.config["classes"] == [0, 1, 2, 3]
        assert str(file) in message


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_cut_short_is_never_loaded(tmp_path: Path, suffix: str) -> None:
    save(tmp_path)
    file = tmp_path / f"experts/expert_0_best.{suffix}"
    content = file.read_bytes()
    for length in (0, 10, len(content) // 2, len(content) - 1):
        file.unlink()
        file.write_bytes(content[:length])
        with pytest.raises((DamagedFileError, ValueError), match="expert_0_best"):
            load_component(file)


def test_a_manifest_with_a_missing_or_truncated_file_is_refused(tmp_path: Path) -> None:
    manifest = save(tmp_path)
    blob = tmp_path / manifest["files"]["pth"]["file"]
    blob.write_bytes(blob.read_bytes()[:-1])
    with pytest.raises(DamagedFileError, match=blob.name):
        read_component_manifest(tmp_path, "expert_0")
    blob.unlink()
    with pytest.raises(DamagedFileError, match="missing"):
        read_component_manifest(tmp_path, "expert_0")
    assert read_component_manifest(tmp_path, "head") is None


@pytest.mark.parametrize("name", ["notes.txt", "x.pth", "x.safetensors"])
def test_a_file_that_is_not_a_component_is_refused_by_name(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    with pytest.raises(ValueError, match="does not exist"):
        load_component(file)
    torch.save({"other": 1}, file)
    with pytest.raises((ValueError, DamagedFileError), match=name):
        load_component(file)


def test_a_pickle_with_code_is_never_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (marker,))

    torch.save({"state_dict": {}, "config": Evil()}, tmp_path / "evil.pth")
    with pytest.raises((ValueError, DamagedFileError)):
        load_component(tmp_path / "evil.pth")
    assert not marker.exists()


def test_converting_keeps_content_and_digest(tmp_path: Path) -> None:
    manifest = save(tmp_path)
    convert_component(tmp_path / manifest["files"]["pth"]["file"], tmp_path / "out.safetensors")
    component = load_component(tmp_path / "out.safetensors")
    assert component.sha256 == manifest["content_sha256"]
    with pytest.raises(ValueError, match=r"\.pth or \.safetensors"):
        convert_component(tmp_path / "out.safetensors", tmp_path / "out.bin")


def test_a_complete_model_has_subcomponents(tmp_path: Path) -> None:
    state = {
        "experts.0.w": torch.ones(2),
        "experts.1.w": torch.zeros(2),
        "fusion.w": torch.ones(3),
        "head.w": torch.ones(1),
    }
    config = {
        "role": "complete",
        "experts": [{"role": "expert"}] * 2,
        "fusion": {"role": "fusion"},
        "head": {"role": "head"},
    }
    save_component(tmp_path, "complete", state, config, epoch=1, step=1, metrics={"a": 1.0}, selected_by="a")
    component = load_component(tmp_path / "complete_fusion_best.pth")
    assert component.subcomponent("expert_1").state_dict.keys() == {"w"}
    assert component.subcomponent("fusion").role == "fusion"
    with pytest.raises(ValueError, match="has 2 experts: expert_2 does not exist"):
        component.subcomponent("expert_2")
