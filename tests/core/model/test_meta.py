"""Building a model on the meta device, in a fresh interpreter because an import cannot be undone."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from core.experts import build_expert, skip_random_init_on_meta

PROGRAM = """
import sys
import torch
from core.data import DataShape
from core.model.assemble import build_model
from core.spec import ARCHITECTURES, FUSION_TYPES, parse_spec, resolve

base = {"kind": "fusion", "num_experts": 2, "experts": [{"arch": "convnet_small"}]}
specs = [base | {"experts": [{"arch": arch}]} for arch in ARCHITECTURES]
specs += [base | {"fusion": {"type": name}} for name in FUSION_TYPES]
specs += [base | {"fusion": {"type": "TransformerBase", "encoder": True}, "head": {"type": "mlp"}}]
for spec in specs:
    with torch.device("meta"):
        model = build_model(resolve(parse_spec(spec)), DataShape(3, 32, 10))
    assert all(tensor.is_meta for tensor in model.state_dict().values())
print(*sorted({"torch._dynamo", "torch._inductor"} & set(sys.modules)))
"""


def test_building_any_model_on_meta_imports_no_compiler() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=300)
    assert (done.stdout.strip(), done.returncode) == ("", 0), done.stderr


def test_random_fills_are_skipped_on_meta_only() -> None:
    with torch.device("meta"), skip_random_init_on_meta():
        assert torch.empty(3).normal_().is_meta
        assert torch.zeros(3, device="cpu").normal_().abs().sum() > 0
    with skip_random_init_on_meta():
        assert torch.zeros(3).uniform_(1, 2).sum() > 0


@pytest.mark.parametrize("arch", ["convnet_small", "timm:resnet10t"])
def test_building_on_meta_leaves_the_random_state_alone(arch: str) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    with torch.device("meta"):
        build_expert(arch, 10)
    assert torch.equal(torch.get_rng_state(), before)
