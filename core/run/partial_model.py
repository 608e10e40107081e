"""A complete model with some of its experts only, as its config and as a file. Needs neither torch nor safetensors.

A `.safetensors` file is eight bytes with the length of its header, the header in JSON with the type, shape and position
of every tensor, and the tensors. A partial file is another header and some stretches of the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

from core.run.durable import DamagedFileError, read_json

# Names of torch's types, by which the SHA-256 of a component's content is computed (core/components.py).
_TORCH_TYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip
_BLOCK_BYTES = 1 << 20
_MAX_HEADER_BYTES = 100_000_000


def subset_name(experts: Sequence[int]) -> str:
    """The name of a set of experts in a result and in an URL: `0,2`, or `none`."""
    return ",".join(map(str, sorted(experts))) or "none"


def parse_experts(text: str) -> list[int]:
    """The numbers of experts in a text such as `0,2`; raises ValueError for another text and for repetitions."""
    parts = text.split(",")
    if not all(part.isascii() and part.isdecimal() and len(part) <= 4 for part in parts):
        raise ValueError(f"experts are numbers from 0, joined by commas, such as 0,2: {text[:40]!r} is not that")
    experts = sorted(map(int, parts))
    twice = next((one for one, other in pairwise(experts) if one == other), None)
    if twice is not None:
        raise ValueError(f"expert {twice} is named twice: name each expert once, such as 0,2")
    return experts


def partial_file_name(name: str, experts: Sequence[int]) -> str:
    """The name of the file of a partial model, from that of the whole one."""
    stem, _, suffix = name.rpartition(".")
    return f"{stem}-experts-{'-'.join(map(str, sorted(experts)))}.{suffix}"


def partial_config(config: Mapping[str, Any], experts: Sequence[int], accuracy: float | None) -> dict[str, Any]:
    """The config, without its SHA-256, of a complete model that keeps only these experts.

    `present_experts` are the experts whose weights it has; all keep their numbers and configs. `test_accuracy` is the
    fused test accuracy of exactly these experts, null where it was not measured. Raises ValueError for a component that
    is not complete, and for experts that it does not have.
    """
    if config["role"] != "complete":
        raise ValueError(
            f"only a complete model can be reduced to some experts; this component is of role {config['role']}"
        )
    available = config.get("present_experts", list(range(len(config["experts"]))))
    unknown = sorted(set(experts) - set(available))
    if not experts or unknown:
        numbers = ", ".join(map(str, unknown))
        problem = f"this model has no expert numbered {numbers}" if unknown else "no expert was named"
        raise ValueError(f"{problem}: choose from {', '.join(map(str, available))}")
    own = {key: value for key, value in config.items() if key != "sha256"}
    return own | {"present_experts": sorted(set(experts)), "test_accuracy": accuracy}


def is_kept(key: str, experts: Sequence[int]) -> bool:
    """Whether a tensor of a complete model belongs to one of these experts, to the fusion module or to the head."""
    return not key.startswith("experts.") or int(key.split(".")[1]) in experts


def measured_accuracy(result: Path, experts: Sequence[int], sha256: str) -> float | None:
    """The fused test accuracy of a set of experts in a `result.json`, None where it has none.

    None too if the result is of another complete model than that with this SHA-256 of its content.
    """
    try:
        content = read_json(result)
        if content["components"]["complete"]["content_sha256"] != sha256:
            return None
        accuracy = content["subsets"].get(subset_name(experts))
        if accuracy is None:
            accuracy = _accuracy_of_most(content, experts)
    except (OSError, DamagedFileError, KeyError, TypeError, AttributeError):
        return None
    return float(accuracy) if isinstance(accuracy, int | float) else None


def _accuracy_of_most(content: Mapping[str, Any], experts: Sequence[int]) -> float | None:
    """The fused test accuracy of all experts, or of all but one: measured where there are too many for all subsets."""
    count = sum(name.startswith("expert_") for name in content["components"])
    absent = sorted(set(range(count)) - set(experts))
    if not count or len(absent) > 1:
        return None
    key = f"test/accuracy_without_expert_{absent[0]}" if absent else "test/accuracy_fused"
    accuracy: float | None = content["metrics"].get(key)
    return accuracy


def describe_accuracy(config: Mapping[str, Any]) -> str:
    """A line about the measured accuracy of a complete model with some of its experts only, from its config."""
    accuracy = config["test_accuracy"]
    measured = "not measured" if accuracy is None else f"{accuracy:.4f}"
    return f"fused test accuracy with experts {subset_name(config['present_experts'])}: {measured}"


@dataclass(frozen=True)
class PartialFile:
    """A partial file before it is written: its header, stretches (offset, length) of the whole file, size, SHA-256."""

    header: bytes
    stretches: tuple[tuple[int, int], ...]
    size_bytes: int
    sha256: str

    def blocks(self, source: BinaryIO) -> Iterator[bytes]:
        """The content, a block at a time; `source` is the whole file."""
        yield self.header
        for offset, length in self.stretches:
            yield from _read(source, offset, length)


def read_config(source: BinaryIO) -> dict[str, Any]:
    """The config in a component's `.safetensors` file; raises ValueError if it is not one."""
    return _read_header(source)[1]


def cut(source: BinaryIO, experts: Sequence[int], accuracy: float | None) -> PartialFile:
    """Plans the file of a complete model with these experts only; reads the tensors that it keeps, twice.

    Raises ValueError as `partial_config` does, and for a file that is not a component.
    """
    entries, config, start = _read_header(source)
    own = partial_config(config, experts, accuracy)
    kept = {key: entry for key, entry in entries.items() if is_kept(key, own["present_experts"])}
    digest = hashlib.sha256(json.dumps(own, sort_keys=True, allow_nan=False).encode())
    for key in sorted(kept):
        entry = kept[key]
        begin, end = entry["data_offsets"]
        digest.update(f"\n{key} torch.{_TORCH_TYPES[entry['dtype']]} {tuple(entry['shape'])}\n".encode())
        for block in _read(source, start + begin, end - begin):
            digest.update(block)
    own["sha256"] = digest.hexdigest()
    header: dict[str, Any] = {"__metadata__": {"config": json.dumps(own, sort_keys=True)}}
    stretches, position = [], 0
    for key, entry in sorted(kept.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = entry["data_offsets"]
        header[key] = {**entry, "data_offsets": [position, position + end - begin]}
        stretches.append((start + begin, end - begin))
        position += end - begin
    text = json.dumps(header, separators=(",", ":")).encode()
    # Tensors begin at a multiple of eight bytes.
    text += b" " * (-len(text) % 8)
    plan = PartialFile(struct.pack("<Q", len(text)) + text, tuple(stretches), 8 + len(text) + position, "")
    whole = hashlib.sha256()
    for block in plan.blocks(source):
        whole.update(block)
    return PartialFile(plan.header, plan.stretches, plan.size_bytes, whole.hexdigest())


def _read_header(source: BinaryIO) -> tuple[dict[str, Any], dict[str, Any], int]:
    """The entries of all tensors, the config, and where the tensors begin."""
    try:
        source.seek(0)
        (length,) = struct.unpack("<Q", source.read(8))
        if length > _MAX_HEADER_BYTES:
            raise ValueError("its header is too long")
        entries = json.loads(source.read(length))
        config = json.loads(entries.pop("__metadata__")["config"])
        return entries, dict(config), 8 + length
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the file is not a component ({error})") from None


def _read(source: BinaryIO, offset: int, length: int) -> Iterator[bytes]:
    source.seek(offset)
    while length:
        block = source.read(min(length, _BLOCK_BYTES))
        if not block:
            raise ValueError("the file is shorter than its header says")
        length -= len(block)
        yield block
