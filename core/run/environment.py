"""What besides specification and data decides the bits of a result: code, libraries and device. Needs no torch."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, Self

from core.run.code import code_digest

# Pillow decodes and resizes the images of folders.
LIBRARIES = ("torch", "torchvision", "timm", "numpy", "pillow")
_CPU_INFO = Path("/proc/cpuinfo")
_NVIDIA = Path("/proc/driver/nvidia")
# Instruction sets that PyTorch and its libraries choose kernels by.
_INSTRUCTIONS = re.compile(r"(avx|fma|amx|f16c|sse4|asimd|sve|bf16|i8mm|fphp)")
_WORDS = {"code": "code of this program", "gpu": "GPU", "cpu": "CPU", "driver": "GPU driver"}


@dataclass(frozen=True)
class Software:
    """The code of `core`, as a digest over its files, and the versions of the libraries that compute."""

    code: str
    libraries: dict[str, str]

    @property
    def key(self) -> str:
        """Equal for equal software."""
        return _key(asdict(self))


@dataclass(frozen=True)
class Device:
    """What a process computes on: one kind of CPU, or one kind of GPU with its driver.

    `instructions` are the CPU's instruction sets that matter for numerics.
    """

    type: str
    cpu: str
    instructions: str
    gpu: str | None = None
    driver: str | None = None

    @property
    def key(self) -> str:
        """Equal for devices that compute the same bits."""
        if self.type == "cpu":
            return _key({"cpu": self.cpu, "instructions": self.instructions})
        return _key({"gpu": self.gpu, "driver": self.driver})


@dataclass(frozen=True)
class Environment:
    """Where one attempt ran. `threads` are those of each of the `processes`; `precision` is that actually used.

    `others` are the environments of processes that have another one than the first, each once; `ranks` has for every
    process which it has: 0 for that of the first, k for the k-th of the others. Both are empty if all have the same.
    """

    software: Software
    device: Device
    precision: str
    threads: int
    processes: int
    others: tuple[Environment, ...] = ()
    ranks: tuple[int, ...] = ()

    def beside(self, others: Sequence[Environment]) -> Environment:
        """This environment of the first process, together with those of the others by rank."""
        distinct = list(dict.fromkeys(_key(each.to_json()) for each in (self, *others)))
        if len(distinct) == 1:
            return self
        ranks = [distinct.index(_key(each.to_json())) for each in (self, *others)]
        first = [(self, *others)[ranks.index(k)] for k in range(len(distinct))]
        return replace(self, others=tuple(first[1:]), ranks=tuple(ranks))

    def to_json(self) -> dict[str, Any]:
        """As it is stored; `others` and `ranks` only where there are any."""
        data = asdict(replace(self, others=(), ranks=()))
        if not self.others:
            return {name: value for name, value in data.items() if name not in ("others", "ranks")}
        return data | {"others": [other.to_json() for other in self.others], "ranks": list(self.ranks)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """An environment that was stored; values that it lacks are unknown."""
        device = {field.name: data["device"].get(field.name, "") for field in fields(Device)}
        software = Software(data["software"]["code"], dict(data["software"]["libraries"]))
        others = tuple(cls.from_json(other) for other in data.get("others", ()))
        ranks = tuple(data.get("ranks", ()))
        return cls(software, Device(**device), data["precision"], data["threads"], data["processes"], others, ranks)

    def differences(self, earlier: Environment) -> list[str]:
        """In words, what differs from an earlier attempt so that the bits may differ: `torch 2.16 instead of 2.15`."""
        now, before = _flat(self), _flat(earlier)
        names = [name for name in now | before if now.get(name) != before.get(name)]
        same_machines = (self.others, self.ranks) == (earlier.others, earlier.ranks)
        mix = [] if same_machines else ["other machines for some processes"]
        return [_in_words(name, now.get(name), before.get(name)) for name in names] + mix


@lru_cache(maxsize=1)
def software() -> Software:
    """The software of this process: what was installed at the first call, which `preload` makes at its start."""
    return installed_software()


def installed_software() -> Software:
    """The software that a process would have if it started now."""
    return Software(code_digest(), {name: _version(name) for name in LIBRARIES})


def local_devices() -> list[Device]:
    """Every kind of device that this machine has: its CPU, and its GPUs as far as the driver tells."""
    cpu, instructions = _cpu()
    gpus = sorted({_field(file.read_text(), "Model") for file in _NVIDIA.glob("gpus/*/information")})
    return [
        Device("cpu", cpu, instructions),
        *(Device("cuda", cpu, instructions, gpu, gpu_driver()) for gpu in gpus),
    ]


def local_device(type_: str, gpu: str | None = None) -> Device:
    """The device of this process; `gpu` is the model that CUDA reports."""
    cpu, instructions = _cpu()
    return Device(type_, cpu, instructions, gpu, gpu_driver() if type_ == "cuda" else None)


def device_keys(*, cpu_only: bool) -> dict[str, list[str]]:
    """The keys of this machine's devices: of its CPU, and of those that a job gets by default (`cpu_only`: the CPU)."""
    devices = local_devices()
    cpu = [device.key for device in devices if device.type == "cpu"]
    gpus = [device.key for device in devices if device.type != "cpu"]
    return {"cpu": cpu, "default": cpu if cpu_only or not gpus else gpus}


def gpu_driver() -> str | None:
    """The version of the NVIDIA driver; None without one."""
    try:
        text = (_NVIDIA / "version").read_text()
    except OSError:
        return None
    match = re.search(r"\b(\d+\.\d+(\.\d+)?)\b", text)
    return match[1] if match else None


@lru_cache(maxsize=1)
def _cpu() -> tuple[str, str]:
    """Model and instruction sets."""
    try:
        text = _CPU_INFO.read_text()
    except OSError:
        return "unknown", ""
    model = _field(text, "model name") or " ".join(
        f"{name} {_field(text, name)}" for name in ("CPU implementer", "CPU part")
    )
    flags = (_field(text, "flags") or _field(text, "Features")).split()
    return model, " ".join(sorted(flag for flag in flags if _INSTRUCTIONS.match(flag)))


def _field(text: str, name: str) -> str:
    match = re.search(rf"^{re.escape(name)}\s*:\s*(.*)$", text, re.MULTILINE)
    return match[1].strip() if match else ""


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _flat(environment: Environment) -> dict[str, str]:
    device = environment.device
    values = {"code": environment.software.code[:12], **environment.software.libraries, "device": device.type}
    names = ("cpu", "instructions") if device.type == "cpu" else ("gpu", "driver")
    values |= {name: str(getattr(device, name)) for name in names}
    counts = {"precision": environment.precision, "threads": environment.threads, "processes": environment.processes}
    return values | {name: str(value) for name, value in counts.items()}


def _in_words(name: str, now: str | None, before: str | None) -> str:
    if name == "instructions":
        return "other instruction sets of the CPU"
    if name in ("threads", "processes"):
        return f"{now} {name} instead of {before}"
    label = _WORDS.get(name, name)
    if now is None or before is None:
        return f"{label} {now}" if before is None else f"no {label} ({before} before)"
    return f"{label} {now} instead of {before}"


def _key(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]
