"""Device, precision, threads and processes of a run."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from core.spec import JobSpec

T = TypeVar("T")


@dataclass(frozen=True)
class Runtime:
    """One process of a run. `cpu_group` is a group on the host, for decisions that must not synchronise the device."""

    device: torch.device
    precision: torch.dtype
    rank: int = 0
    world_size: int = 1
    cpu_group: dist.ProcessGroup | None = None

    @property
    def is_main(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    def autocast(self) -> AbstractContextManager[Any]:
        """The context for forward passes."""
        if self.precision == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.precision)

    def format(self, images_BCHW: Tensor) -> Tensor:
        """Images in channels_last, the memory format in which convolutions are fastest."""
        return images_BCHW.contiguous(memory_format=torch.channels_last)

    def prepare(self, model: nn.Module, *, compiled: bool, two_backward_passes: bool = False) -> nn.Module:
        """Wraps a model on the device for training: synchronised between processes, and compiled if requested.

        Parameters that do not require a gradient at this time must not be trained through the result: `release` it and
        prepare the model again. With `two_backward_passes` the gradients of two losses can be taken one after the
        other; they are not synchronised, see `average`.
        """
        # On CPU every process normalises by its own batches; rank 0's running statistics are used and saved.
        if self.world_size > 1 and self.device.type == "cuda":
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        if self.world_size > 1 and not two_backward_passes:
            model = nn.parallel.DistributedDataParallel(
                model,
                device_ids=[self.device] if self.device.type == "cuda" else None,
                gradient_as_bucket_view=True,
            )
        if compiled:
            if two_backward_passes:
                _keep_graphs_of_compiled_models()
            return torch.compile(model)  # type: ignore[return-value]
        return model

    def release(self, prepared: nn.Module) -> None:
        """Ends the synchronisation of a prepared model, so that its module can be prepared again."""
        module = getattr(prepared, "_orig_mod", prepared)
        if isinstance(module, nn.parallel.DistributedDataParallel):
            # The hooks on the parameters would otherwise work until the wrapper is collected.
            module._remove_autograd_hooks()

    def broadcast_buffers(self, model: nn.Module) -> None:
        """Gives every process the buffers of rank 0, such as BatchNorm's running statistics; these are saved."""
        if self.world_size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, src=0)

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.world_size > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replaces tensors of one dtype by their means over all processes, in place, in one exchange."""
        if self.world_size > 1:
            flat = torch.cat([tensor.reshape(-1) for tensor in tensors]) / self.world_size
            dist.all_reduce(flat)
            for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
                tensor.copy_(mean.view(tensor.shape))

    def sum_scalar(self, value: float) -> float:
        """The sum of a host number over all processes."""
        if self.cpu_group is None:
            return value
        total = torch.tensor(float(value), dtype=torch.double)
        dist.all_reduce(total, group=self.cpu_group)
        return total.item()

    def gather(self, tensors: Sequence[Tensor]) -> Tensor:
        """The tensors of all processes, on the host, joined along the first dimension."""
        if self.cpu_group is None:
            return torch.cat(list(tensors))
        parts: list[list[Tensor]] = [[] for _ in range(self.world_size)]
        dist.all_gather_object(parts, list(tensors), group=self.cpu_group)
        return torch.cat([tensor for part in parts for tensor in part])

    def gather_objects(self, value: T) -> list[T]:
        """The values of all processes by rank; small ones that pickle can store."""
        if self.cpu_group is None:
            return [value]
        values = [value] * self.world_size
        dist.all_gather_object(values, value, group=self.cpu_group)
        return values

    def mean(self, value: float) -> float:
        """The mean of a host number over all processes."""
        return self.sum_scalar(value) / self.world_size

    def any_rank(self, flag: bool) -> bool:
        """Whether the flag is set on any process."""
        return self.sum_scalar(float(flag)) > 0 if self.cpu_group else flag

    def barrier(self) -> None:
        """Waits until every process gets here."""
        if self.cpu_group is not None:
            dist.barrier(group=self.cpu_group)


def _keep_graphs_of_compiled_models() -> None:
    """From now on, models are compiled so that their graph survives a backward pass with `retain_graph`."""
    from torch._functorch import config

    if "retain_graph" in torch.compiler.config.cache_key_tag:
        return
    # A backward pass otherwise reuses the memory of saved activations. Neither the cache of kernels on disk nor that of
    # this process distinguishes the two: without a tag and a reset they would return kernels that do.
    config.donated_buffer = False
    torch.compiler.config.cache_key_tag += "retain_graph"
    torch.compiler.reset()


def start_runtime(spec: JobSpec, device: str | None = None) -> Runtime:
    """Sets threads and determinism, joins the processes of RANK and WORLD_SIZE, and selects device and precision.

    `device` is `cpu`, `cuda` or `cuda:<n>`; None selects a GPU if there is one and the specification does not request 0
    GPUs. Raises ValueError for a device that does not exist.
    """
    torch.set_num_threads(spec.resources.cpus)
    uses_gpu = spec.resources.gpus != 0 and torch.cuda.is_available()
    name = device or ("cuda" if uses_gpu else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise ValueError(f"{name!r} is not a device: choose cpu, cuda or cuda:<number>")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device {name} was requested, but PyTorch finds no CUDA device: choose cpu")
    rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    selected = torch.device(name)
    if name == "cuda":
        selected = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    if selected.type == "cuda":
        if (selected.index or 0) >= torch.cuda.device_count():
            raise ValueError(f"device {name} was requested, but the last one is cuda:{torch.cuda.device_count() - 1}")
        torch.cuda.set_device(selected)
    _set_determinism(spec.training.deterministic, selected)
    cpu_group: dist.ProcessGroup | None = None
    if world_size > 1:
        if not dist.is_initialized():
            dist.init_process_group("nccl" if selected.type == "cuda" else "gloo")
        group = dist.new_group(backend="gloo")
        assert isinstance(group, dist.ProcessGroup)
        cpu_group = group
    return Runtime(selected, _precision(spec.training.precision, selected), rank, world_size, cpu_group)


def stop_runtime(runtime: Runtime) -> None:
    """Leaves the process group."""
    if runtime.world_size > 1 and dist.is_initialized():
        dist.destroy_process_group()


def _precision(requested: str, device: torch.device) -> torch.dtype:
    if requested == "float32":
        return torch.float32
    if requested == "bfloat16" or has_bfloat16(device):
        return torch.bfloat16
    return torch.float32


def has_bfloat16(device: torch.device) -> bool:
    """Whether the hardware computes in bfloat16 rather than emulating it."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return False
    return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})


def _set_determinism(deterministic: bool, device: torch.device) -> None:
    # Even switching it off imports torch's compiler, which takes seconds.
    if deterministic != torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(deterministic)
    if device.type == "cuda":
        # cuBLAS reads its workspace size at its first call.
        if deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = not deterministic
