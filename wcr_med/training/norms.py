"""Batch norms over a batch that several processes share."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from wcr_med.training.distributed import Group


@contextlib.contextmanager
def synchronised_norms(model: nn.Module, group: Group) -> Iterator[None]:
    """For the length of a block, every batch norm of the model uses the statistics of the whole batch.

    The modules are replaced by ones that share their parameters and buffers, and put back at the end; names stay as
    they are. On CUDA torch's own `SyncBatchNorm` stands in, which knows no CPU. Nothing happens for one process alone.
    """
    replaced: list[tuple[nn.Module, str, nn.Module]] = []
    if group.world > 1:
        for parent in list(model.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, _BatchNorm):
                    replaced.append((parent, name, child))
                    setattr(parent, name, _synchronised(child))
    try:
        yield
    finally:
        for parent, name, child in replaced:
            setattr(parent, name, child)


def _synchronised(norm: _BatchNorm) -> nn.Module:
    tensors = [*norm.parameters(), *norm.buffers()]
    if tensors and tensors[0].device.type == "cuda":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(norm)  # type: ignore[no-untyped-call]
        return converted
    return HostSyncBatchNorm(norm)


class HostSyncBatchNorm(_BatchNorm):
    """What torch's `SyncBatchNorm` computes, for processes without GPUs.

    The batch's mean and, in a second pass about it, its variance come from sums over all processes; running statistics
    move by the unbiased variance, as in torch. A process may have no slices at all.

    Args:
        norm: gives parameters, buffers and settings, and shares them.
    """

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__(
            norm.num_features, norm.eps, norm.momentum, affine=norm.affine, track_running_stats=norm.track_running_stats
        )
        for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            setattr(self, name, getattr(norm, name))
        self.train(norm.training)

    def forward(self, values_NChw: Tensor) -> Tensor:
        """In training by the whole batch's statistics, else as any batch norm."""
        if not self.training:
            return super().forward(values_NChw)
        axes = [axis for axis in range(values_NChw.ndim) if axis != 1]
        wide_NChw = values_NChw.float()
        count = torch.tensor([values_NChw.numel() / values_NChw.shape[1]], dtype=torch.float32)
        dist.all_reduce(count)
        shape = [1, -1, *[1] * (values_NChw.ndim - 2)]
        mean_C = _sum_over_processes(wide_NChw.sum(axes)) / count
        centred_NChw = wide_NChw - mean_C.view(shape)
        variance_C = _sum_over_processes(centred_NChw.square().sum(axes)) / count
        self._track(mean_C.detach(), variance_C.detach(), count)
        scaled_NChw = centred_NChw * torch.rsqrt(variance_C + self.eps).view(shape)
        if self.affine:
            scaled_NChw = scaled_NChw * self.weight.view(shape) + self.bias.view(shape)
        return scaled_NChw.to(values_NChw.dtype)

    def _track(self, mean_C: Tensor, variance_C: Tensor, count: Tensor) -> None:
        if not self.track_running_stats or self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean_C, share)
        self.running_var.lerp_(variance_C * count / (count - 1), share)

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 - torch's name
        if input.ndim < 2:
            raise ValueError(f"a batch norm takes two axes or more, not {input.ndim}")


def _sum_over_processes(values: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(values)
    return total


class _Sum(torch.autograd.Function):
    """The sum over all processes; since each of them uses it, its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        """Add up."""
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Add up."""
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total
