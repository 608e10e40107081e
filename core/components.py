"""Component files: an expert, the fusion module, the head, or the complete model as one consistent snapshot.

A component is `{"state_dict", "config"}`. The config describes how to build the module and contains the SHA-256 of the
content, so that a copied file can be verified anywhere. In the `components/` folder of a run directory:

    expert_0.json                      manifest, written last; only components with a manifest are served
    blobs/<name>-<sha256>.<format>     the files that the manifests refer to
    experts/expert_0_best.pth ..       the same files under their well-known names
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from core.run.durable import DamagedFileError, read_manifest, sha256_of, write_durably, write_hashed, write_manifest
from core.run.partial_model import is_kept, measured_accuracy, partial_config
from core.run.rundir import RunDir

FORMAT = 1
FORMATS = ("pth", "safetensors")
_WELL_KNOWN_PATHS = {
    "fusion": "fusion/fusion_module_best",
    "head": "global/global_head_best",
    "complete": "complete_fusion_best",
}

State = dict[str, Tensor]


@dataclass(frozen=True)
class Component:
    """A verified component: its tensors on the CPU, and the config to build its module from.

    `is_part` says that it was taken from the file of a complete model.
    """

    state_dict: State
    config: dict[str, Any]
    path: Path
    is_part: bool = False

    @property
    def role(self) -> str:
        """`expert`, `fusion`, `head` or `complete`."""
        return str(self.config["role"])

    @property
    def sha256(self) -> str:
        """The SHA-256 of the content."""
        return str(self.config["sha256"])

    def subcomponent(self, name: str) -> Component:
        """Returns `expert_<k>`, `fusion` or `head` of a complete model; raises ValueError for a missing expert.

        An expert that a partial model does not have is a component without tensors, `absent` in its config.
        """
        assert self.role == "complete"
        experts = self.config["experts"]
        if name.startswith("expert_"):
            index = int(name.removeprefix("expert_"))
            if index >= len(experts):
                raise ValueError(f"{self.path} has {len(experts)} experts: {name} does not exist")
            prefix, config = f"experts.{index}.", experts[index]
            if index not in self.config.get("present_experts", range(len(experts))):
                config = {**config, "absent": True}
        else:
            prefix, config = f"{name}.", self.config[name]
        state = {key.removeprefix(prefix): value for key, value in self.state_dict.items() if key.startswith(prefix)}
        return Component(state, {**config, "sha256": self.sha256}, self.path, is_part=True)

    def with_experts(self, experts: Sequence[int]) -> Component:
        """The complete model with only these experts: the others' weights are left out, and neutral elements remain.

        Its config says which experts are present and, where the run of the file measured it, their fused test accuracy.
        Raises ValueError for a component that is not complete, and for experts that it does not have.
        """
        result = next((RunDir(p.parent).result for p in self.path.absolute().parents if p.name == "components"), None)
        accuracy = measured_accuracy(result, experts, self.sha256) if result else None
        config = partial_config(self.config, experts, accuracy)
        state = {key: value for key, value in self.state_dict.items() if is_kept(key, config["present_experts"])}
        return Component(state, {**config, "sha256": _content_sha256(state, config)}, self.path)


def well_known_path(name: str) -> str:
    """Path of a component relative to `components/`, without its suffix."""
    return _WELL_KNOWN_PATHS.get(name, f"experts/{name}_best")


def save_component(
    folder: Path,
    name: str,
    state: Mapping[str, Tensor],
    config: Mapping[str, Any],
    *,
    epoch: int,
    step: int,
    metrics: Mapping[str, float],
    selected_by: str,
    identity: str = "",
) -> dict[str, Any]:
    """Writes a component in every format, then its manifest, then its well-known paths; returns the manifest.

    `selected_by` is the key in `metrics` by which this epoch was selected; `identity` is the digest of all that decided
    the weights. Files of the previous version are removed.
    """
    tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    content = {"format": FORMAT, **config}
    digest = _content_sha256(tensors, content)
    content["sha256"] = digest
    blobs = folder / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    files: dict[str, dict[str, Any]] = {}
    for suffix in FORMATS:
        blob = blobs / f"{name}-{digest[:24]}.{suffix}"
        file_sha256 = _write(blob, suffix, tensors, content)
        files[suffix] = {
            "file": f"blobs/{blob.name}",
            "name": f"{Path(well_known_path(name)).name}.{suffix}",
            "place": f"{well_known_path(name)}.{suffix}",
            "bytes": blob.stat().st_size,
            "sha256": file_sha256,
        }
    manifest = {
        "name": name,
        "role": content["role"],
        "epoch": epoch,
        "step": step,
        "metrics": dict(metrics),
        "selected_by": selected_by,
        "content_sha256": digest,
        "config": content,
        "identity": identity,
        "files": files,
        "created_at": datetime.now(UTC).isoformat(),
    }
    write_manifest(folder / f"{name}.json", manifest)
    link_component(folder, manifest)
    kept = {entry["file"].removeprefix("blobs/") for entry in files.values()}
    for blob in blobs.glob(f"{name}-*"):
        if blob.name not in kept:
            blob.unlink(missing_ok=True)
    return manifest


def link_component(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Links a component's files to their well-known paths, replacing stale ones."""
    for entry in manifest["files"].values():
        target = folder / entry["place"]
        target.parent.mkdir(parents=True, exist_ok=True)
        blob = folder / entry["file"]
        if not (target.exists() and target.samefile(blob)):
            write_durably(target, lambda path, blob=blob: _link(blob, path))  # type: ignore[misc]


def remove_component_files(folder: Path, name: str) -> None:
    """Removes the files of a component, under all of their names; its manifest stays."""
    for file in [*(folder / "blobs").glob(f"{name}-*"), *(folder / f"{well_known_path(name)}.{s}" for s in FORMATS)]:
        file.unlink(missing_ok=True)


def read_component_manifest(folder: Path, name: str) -> dict[str, Any] | None:
    """Reads a component's manifest, None if there is none; raises DamagedFileError if one of its files is damaged."""
    try:
        manifest = read_manifest(folder / f"{name}.json")
    except FileNotFoundError:
        return None
    for entry in manifest["files"].values():
        file = folder / entry["file"]
        if not file.exists():
            raise DamagedFileError(file, "is missing")
        if file.stat().st_size != entry["bytes"]:
            raise DamagedFileError(file, f"has {file.stat().st_size:,} bytes instead of {entry['bytes']:,}")
    return manifest


def load_component(path: Path) -> Component:
    """Loads a component's `.pth` or `.safetensors` file.

    The content is verified against the SHA-256 in its config, and the file against the manifest of its folder if there
    is one. Raises DamagedFileError, or ValueError for a file that is missing or not a component.
    """
    if not path.is_file():
        raise ValueError(f"component file {path} does not exist")
    try:
        tensors, config = _read(path)
        digest = config["sha256"]
        intact = digest == _content_sha256(tensors, {key: value for key, value in config.items() if key != "sha256"})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a component file: {error}") from None
    except Exception as error:  # torch and safetensors raise many unrelated types on damaged bytes
        raise DamagedFileError(path, f"cannot be read ({type(error).__name__})") from None
    if not intact:
        raise DamagedFileError(path, "was changed after it was written: its SHA-256 differs")
    entry = _manifest_entry(path, digest)
    if entry and sha256_of(path) != entry["sha256"]:
        raise DamagedFileError(path, "was changed after it was written: its SHA-256 differs from its manifest")
    return Component(tensors, config, path)


def convert_component(path: Path, target: Path) -> None:
    """Writes a verified copy of a component; the suffix of `target` selects the format.

    Raises as load_component does.
    """
    write_component(load_component(path), target)


def write_component(component: Component, target: Path) -> None:
    """Writes a component to a file; the suffix of `target` selects the format."""
    suffix = target.suffix.removeprefix(".")
    if suffix not in FORMATS:
        raise ValueError(f"the name of {target} must end in .pth or .safetensors")
    _write(target, suffix, component.state_dict, component.config)


def _write(path: Path, suffix: str, tensors: State, config: dict[str, Any]) -> str:
    """Writes a component file and returns its SHA-256."""
    if suffix == "pth":
        content = {"state_dict": tensors, "config": config}
        return write_hashed(path, lambda file: torch.save(content, file))  # type: ignore[arg-type]
    metadata = {"config": json.dumps(config, sort_keys=True)}
    write_durably(path, lambda file: safetensors.torch.save_file(tensors, file, metadata=metadata))
    return sha256_of(path)


def _read(path: Path) -> tuple[State, dict[str, Any]]:
    if path.suffix == ".safetensors":
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            return {key: file.get_tensor(key) for key in file.keys()}, json.loads(metadata["config"])  # noqa: SIM118
    if path.suffix != ".pth":
        raise ValueError("the name must end in .pth or .safetensors")
    content = torch.load(path, map_location="cpu", weights_only=True)
    return dict(content["state_dict"]), dict(content["config"])


def _content_sha256(tensors: State, config: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, allow_nan=False).encode())
    for key in sorted(tensors):
        tensor = tensors[key].contiguous()
        digest.update(f"\n{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _manifest_entry(path: Path, content_sha256: str) -> dict[str, Any] | None:
    """Entry for this file in the manifest of its run, None if there is no manifest with this content."""
    for folder in (path.parent, path.parent.parent):
        for file in folder.glob("*.json"):
            try:
                manifest = read_manifest(file)
            except (DamagedFileError, OSError):
                continue
            if manifest.get("content_sha256") == content_sha256:
                entry = manifest["files"].get(path.suffix.removeprefix("."))
                return dict(entry) if entry else None
    return None


def _link(blob: Path, target: Path) -> None:
    try:
        os.link(blob, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(blob, target)
