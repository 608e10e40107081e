"""What an environment consists of, and what differs between two, in words."""

from __future__ import annotations

from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from core.run import environment as module
from core.run.environment import Device, Environment, Software, device_keys, installed_software, local_device

CPU = Device("cpu", "a CPU", "avx2 fma")
GPU = replace(CPU, type="cuda", gpu="a GPU", driver="550.1")
LIBRARIES = {"torch": "2.15.0", "torchvision": "0.30.0", "timm": "1.0.20", "numpy": "2.4.0", "pillow": "12.0.0"}
HERE = Environment(Software("c0de" * 16, LIBRARIES), CPU, "float32", 2, 1)
CPU_INFO = """processor : 0
model name : Xeon 6
flags : fpu avx512f sse4_2 avx2 fma syscall
"""


def test_every_library_that_computes_is_recorded() -> None:
    assert installed_software().libraries == {name: metadata.version(name) for name in LIBRARIES}


@pytest.mark.parametrize("name", LIBRARIES)
def test_every_library_makes_other_software(name: str) -> None:
    other = replace(HERE.software, libraries=LIBRARIES | {name: "9.9"})
    assert other.key != HERE.software.key
    assert replace(HERE, software=other).differences(HERE) == [f"{name} 9.9 instead of {LIBRARIES[name]}"]


def test_other_code_makes_other_software() -> None:
    assert replace(HERE.software, code="0" * 64).key != HERE.software.key


@pytest.mark.parametrize(
    ("device", "changes", "is_other"),
    [
        (CPU, {"cpu": "another CPU"}, True),
        (CPU, {"instructions": "avx2"}, True),
        (GPU, {"gpu": "another GPU"}, True),
        (GPU, {"driver": "560.2"}, True),
        # What the host of a GPU is changes no bits.
        (GPU, {"cpu": "another CPU", "instructions": ""}, False),
    ],
)
def test_a_device_is_another_one_if_it_may_compute_other_bits(
    device: Device, changes: dict[str, Any], is_other: bool
) -> None:
    other = replace(device, **changes)
    assert (other.key != device.key) is is_other
    environments = replace(HERE, device=other), replace(HERE, device=device)
    assert bool(environments[0].differences(environments[1])) is is_other


def test_a_gpu_is_no_cpu() -> None:
    assert CPU.key != GPU.key
    assert "device cuda instead of cpu" in replace(HERE, device=GPU).differences(HERE)


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"precision": "bfloat16"}, "precision bfloat16 instead of float32"),
        ({"threads": 4}, "4 threads instead of 2"),
        ({"processes": 2}, "2 processes instead of 1"),
        ({"software": Software("0" * 64, LIBRARIES)}, "code of this program 000000000000 instead of c0dec0dec0de"),
        ({"device": replace(CPU, instructions="avx2")}, "other instruction sets of the CPU"),
        ({"software": Software(HERE.software.code, LIBRARIES | {"jax": "1"})}, "jax 1"),
        ({"software": Software(HERE.software.code, {"torch": "2.15.0"})}, "no torchvision (0.30.0 before)"),
    ],
)
def test_whatever_may_change_the_bits_is_a_difference(changes: dict[str, Any], difference: str) -> None:
    assert difference in replace(HERE, **changes).differences(HERE)


def test_equal_environments_do_not_differ_after_they_were_stored() -> None:
    assert HERE.differences(Environment.from_json(HERE.to_json())) == []


def test_the_instruction_sets_that_matter_are_read_from_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(CPU_INFO)
    monkeypatch.setattr(module, "_CPU_INFO", tmp_path / "cpuinfo")
    module._cpu.cache_clear()
    try:
        assert local_device("cpu") == Device("cpu", "Xeon 6", "avx2 avx512f fma sse4_2")
    finally:
        module._cpu.cache_clear()


def test_the_gpus_of_a_machine_are_those_that_its_driver_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (0, 1):
        file = tmp_path / f"gpus/{number}/information"
        file.parent.mkdir(parents=True)
        file.write_text("Model: \t\t NVIDIA H200\nIRQ: 1\n")
    (tmp_path / "version").write_text("NVRM version: NVIDIA UNIX Open Kernel Module  570.86.15  Release Build\n")
    monkeypatch.setattr(module, "_NVIDIA", tmp_path)
    keys = device_keys(cpu_only=False)
    assert keys["default"] == [local_device("cuda", "NVIDIA H200").key]
    assert keys["cpu"] == [local_device("cpu").key]
    assert device_keys(cpu_only=True)["default"] == keys["cpu"]
    assert local_device("cuda", "NVIDIA H200").driver == "570.86.15"
