"""Each channel's mean and spread set back to what they were in the dense network."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from wcr_med.errors import UserError
from wcr_med.models.owners import KernelLayer, KernelOwner, evaluation_mode
from wcr_med.pruning.layers import (
    batch_norm_after,
    channel_values,
    kernel_layers,
    run_with_hooks,
    scale_channels_,
)

_DEAD = 1e-12  # of a variance against what rounding in float32 could make of it


@torch.no_grad()
def match_variance_(model: nn.Module, dense: nn.Module, images: Iterable[Tensor]) -> dict[str, Any]:
    """Give every output channel of every prunable layer the mean and spread that it has in the dense network.

    With m, s the mean and spread of a channel over all calibration slices and positions, each layer's output y becomes

        a y + b,    a = s_dense / s_pruned,    b = m_dense - a m_pruned.

    Both networks see each batch once. In the pruned one a layer is corrected on the fly, by the figures of the batch,
    so that every layer is measured behind layers that are corrected already; the figures of all batches together are
    then folded into the weights: a into the kernel, b into the bias. Where a layer has no bias, b goes into the running
    mean of the batch norm that reads its output; where there is no such batch norm, b is left out. For one batch the
    result is exact; for several it is as close as their figures are alike.

    A channel that is constant in either network keeps its kernel (a = 1) and only gets its mean back. Kernels that are
    used several times in a pass are left alone. Zeros stay exactly zero.

    Args:
        model: the pruned network, changed in place; evaluation mode is used, and each module keeps its own.
        dense: the same network before pruning, on the same device; not changed.
        images: batches of normalised training images, float32 (N, C, h, w); at least one.

    Returns:
        A JSON-ready record: `n_layers` corrected ones, `n_channels` of them, `n_dead` channels that were constant,
        `n_without_offset` layers whose b was left out, `n_images`, and `largest_scale`, the largest a.

    Raises:
        UserError: there is no batch, or a figure is NaN or infinite. Nothing was changed.

    References:
        Jordan, Sedghi, Saukh, Entezari, Neyshabur: REPAIR, arXiv 2211.08403 (the correction, there of merged networks);
        Zhan, Chen, Hu: Adaptive Signal Resuscitation, arXiv 2605.21426 (per channel after pruning, there shrunk).
    """
    pairs: list[_Pair] | None = None
    n_images = 0
    with evaluation_mode(model), evaluation_mode(dense):
        for image_NChw in images:
            if pairs is None:
                pairs = _pairs(model, dense, image_NChw[:1])
            _measure(model, dense, pairs, image_NChw)
            n_images += len(image_NChw)
    if pairs is None:
        raise UserError("pruning.repair match_variance: no training slices; raise pruning.repair_slices")
    corrections = [(pair, *pair.correction()) for pair in pairs]
    for pair, scale, shift, _ in corrections:
        if not bool(torch.isfinite(scale).all() & torch.isfinite(shift).all()):
            raise UserError(f"pruning.repair match_variance: {pair.layer.name} gives NaN or infinity; train again")
    for pair, scale, shift, _ in corrections:
        pair.fold_(scale, shift)
    return {
        "n_layers": len(pairs),
        "n_channels": sum(len(scale) for _, scale, _, _ in corrections),
        "n_dead": sum(int(dead.sum()) for _, _, _, dead in corrections),
        "n_without_offset": sum(not pair.has_offset for pair in pairs),
        "n_images": n_images,
        "largest_scale": max((float(scale.max()) for _, scale, _, _ in corrections), default=1.0),
    }


@dataclass(kw_only=True)
class _Moments:
    """Mean and variance of every channel, float64 (C,), over all slices and positions that were added."""

    n: int = 0
    mean: Tensor = field(default_factory=lambda: torch.zeros(()))
    variance: Tensor = field(default_factory=lambda: torch.zeros(()))

    @classmethod
    def of(cls, module: KernelOwner, output: Tensor) -> "_Moments":
        values_NCp = channel_values(module, output)
        # Torch's own variance is accurate within a slice; across slices it is double precision that keeps it so.
        variance_NC, mean_NC = (figure.double() for figure in torch.var_mean(values_NCp, dim=2, correction=0))
        spread_C, mean_C = torch.var_mean(mean_NC, dim=0, correction=0)
        n = values_NCp.shape[0] * values_NCp.shape[2]
        return cls(n=n, mean=mean_C, variance=variance_NC.mean(0) + spread_C)

    def add(self, other: "_Moments") -> None:
        """Merge, without the cancellation of sums of squares (Chan, Golub, LeVeque 1979)."""
        n = self.n + other.n
        share, step = other.n / n, other.mean - self.mean
        self.mean = self.mean + share * step
        self.variance = (1 - share) * self.variance + share * other.variance + share * (1 - share) * step.square()
        self.n = n


@dataclass(kw_only=True)
class _Pair:
    """One layer in both networks, and what was seen of it."""

    layer: KernelLayer
    twin: nn.Module
    norm: _BatchNorm | None
    dense: _Moments = field(default_factory=_Moments)
    pruned: _Moments = field(default_factory=_Moments)
    dense_batch: _Moments = field(default_factory=_Moments)

    @property
    def has_offset(self) -> bool:
        return self.layer.module.bias is not None or self.norm is not None

    def note_dense(self, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        """A forward hook of the dense layer."""
        self.dense_batch = _Moments.of(self.layer.module, output)
        self.dense.add(self.dense_batch)

    def correct(self, module: KernelOwner, _inputs: Any, output: Tensor) -> Tensor:
        """A forward hook of the pruned layer: its output, corrected by the figures of this batch."""
        batch = _Moments.of(module, output)
        self.pruned.add(batch)
        scale, shift, _ = _correction(self.dense_batch, batch)
        shape = [-1] if isinstance(module, nn.Linear) else [-1, *[1] * (output.ndim - 2)]
        corrected = output * scale.to(output.dtype).view(shape)
        return corrected + shift.to(output.dtype).view(shape) if self.has_offset else corrected

    def correction(self) -> tuple[Tensor, Tensor, Tensor]:
        """Of all batches: scale, shift, and which channels are constant."""
        return _correction(self.dense, self.pruned)

    def fold_(self, scale: Tensor, shift: Tensor) -> None:
        """Make the correction part of the layer."""
        module = self.layer.module
        scale_channels_(module, scale)
        if module.bias is not None:
            module.bias.mul_(scale.to(module.bias.dtype)).add_(shift.to(module.bias.dtype))
        elif self.norm is not None:
            assert self.norm.running_mean is not None
            self.norm.running_mean.sub_(shift.to(self.norm.running_mean.dtype))


def _correction(dense: _Moments, pruned: _Moments) -> tuple[Tensor, Tensor, Tensor]:
    dead = (pruned.variance <= _DEAD * (dense.variance + pruned.mean.square())) | (
        dense.variance <= _DEAD * dense.mean.square()
    )
    scale = torch.where(dead, 1.0, (dense.variance / torch.where(dead, 1.0, pruned.variance)).sqrt())
    return scale, dense.mean - scale * pruned.mean, dead


def _pairs(model: nn.Module, dense: nn.Module, image_1Chw: Tensor) -> list[_Pair]:
    layers = kernel_layers(model, image_1Chw)
    norms = batch_norm_after(model, layers, image_1Chw)
    twins = dict(dense.named_modules())
    return [_Pair(layer=layer, twin=twins[layer.name], norm=norms.get(layer.name)) for layer in layers]


def _measure(model: nn.Module, dense: nn.Module, pairs: list[_Pair], image_NChw: Tensor) -> None:
    run_with_hooks(dense, image_NChw, [(pair.twin, pair.note_dense) for pair in pairs])
    run_with_hooks(model, image_NChw, [(pair.layer.module, pair.correct) for pair in pairs])
