"""The surviving weights refitted, layer by layer, so that each layer's output is again that of the dense network.

Shape suffixes: N slices, P positions, O output channels of a group, K features of a group, G groups.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from wcr_med.errors import UserError
from wcr_med.models.owners import KernelLayer, evaluation_mode
from wcr_med.pruning.calibration import Batch, Calibration
from wcr_med.pruning.features import features_at, kernel_matrix, output_grid, outputs_at, set_kernel_
from wcr_med.pruning.layers import batch_norm_after, kernel_layers, run_with_hooks

N_SLICES = 256
"""Slices that are looked at, the first ones of the calibration; more cost time and gain little."""
N_POSITIONS = 64
"""Output positions of a slice that a layer is fitted at, half of them within the lesion where the slice has one."""
RIDGE = 0.01
"""Pull towards the weights as they are, in mean squares of the layer's features."""

_SEED = 0
_EXACT = 1e-8  # of a layer's variance: what rounding in float32 makes of no error at all


@torch.no_grad()
def reconstruct_(
    model: nn.Module,
    dense: nn.Module,
    calibration: Calibration,
    *,
    n_slices: int = N_SLICES,
    positions: int = N_POSITIONS,
    ridge: float = RIDGE,
) -> dict[str, Any]:
    """Refit the surviving weights of every prunable layer by least squares, in place; zeros stay zeros.

    Layer by layer, in the order in which they compute, and for each output channel with its surviving weights w:

        min over w, b of  mean (w x + b - y)^2 + ridge * mean(x^2) * |w - w_0|^2

    x are the inputs of the pruned network, whose earlier layers are refitted already, y the outputs of the dense one,
    at the same sampled positions of the same training slices; w_0 the weights as they are. No gradient is taken, and
    labels only say where lesions are, in which half of the positions lie. b goes into the layer's bias, or the running
    mean of the batch norm that reads its output; where there is neither, b = 0. Layers whose output is exact, and
    kernels that are used several times in a pass, are left alone.

    Args:
        model: the pruned network, on the calibration's processor; evaluation mode is used, and each module keeps its
            own.
        dense: the same network before pruning, on the same processor; not changed.
        calibration: training slices.
        n_slices: at most this many of them.
        positions: of a slice, drawn with repetition by a fixed seed.
        ridge: above 0.

    Returns:
        A JSON-ready record: `n_layers` and `n_weights` refitted, `n_images`, `error_before` and `error_after`: the
        squared error of a layer's output at those positions as a share of its variance, averaged over layers.

    Raises:
        UserError: there are no slices, or a figure is NaN or infinite. The former weights stay.

    References:
        Hubara, Chmiel, Island, Banner, Naor, Soudry: AdaPrune, arXiv 2102.08124 (there by gradient steps);
        Frantar, Alistarh: Optimal Brain Compression, arXiv 2208.11580 (the closed form).
    """
    with evaluation_mode(model), evaluation_mode(dense):
        batches = _first(calibration, n_slices)
        if not batches:
            raise UserError("pruning.repair reconstruct: no training slices; raise pruning.repair_slices")
        fits = _fits(model, dense, batches, positions)
        former = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        try:
            errors = [fit.solve_(model, batches, ridge) for fit in fits]
        except UserError:
            model.load_state_dict(former)
            raise
    kernels = [kernel_matrix(fit.layer.module) for fit in fits]
    return {
        "n_layers": len(fits),
        "n_weights": sum(int((kernel != 0).sum()) for kernel in kernels),
        "n_images": sum(len(image_NChw) for image_NChw, _ in batches),
        "error_before": _mean([before for before, _ in errors]),
        "error_after": _mean([after for _, after in errors]),
    }


@dataclass(kw_only=True)
class _Fit:
    """One layer, where it is looked at, and what the dense network has there.

    Attributes:
        layer: of the pruned network.
        norm: the batch norm that reads its output.
        grid: of its output.
        sampled: slices_P and places_P of each batch.
        wanted: the dense outputs of each batch, (G, P, O).
    """

    layer: KernelLayer
    norm: _BatchNorm | None
    grid: tuple[int, ...]
    sampled: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    wanted: list[Tensor] = field(default_factory=list)

    def solve_(self, model: nn.Module, batches: list[Batch], ridge: float) -> tuple[float, float]:
        """Fit and write the weights; the relative error before and after."""
        module = self.layer.module
        x_GPK = torch.cat(self._features(model, batches), dim=1)
        y_GPO = torch.cat(self.wanted, dim=1)
        self.wanted.clear()
        has_offset = module.bias is not None or self.norm is not None
        x_mean_GK, y_mean_GO = x_GPK.double().mean(1), y_GPO.double().mean(1)
        if not has_offset:
            x_mean_GK, y_mean_GO = torch.zeros_like(x_mean_GK), torch.zeros_like(y_mean_GO)
        x_GPK = x_GPK - x_mean_GK[:, None].to(x_GPK.dtype)
        y_GPO = y_GPO - y_mean_GO[:, None].to(y_GPO.dtype)
        n = x_GPK.shape[1]
        gram_GKK = (x_GPK.mT @ x_GPK).double() / n
        cross_GKO = (x_GPK.mT @ y_GPO).double() / n
        if not bool(torch.isfinite(gram_GKK).all() & torch.isfinite(cross_GKO).all()):
            raise UserError(f"pruning.repair reconstruct: {self.layer.name} gives NaN or infinity; train again")
        kernel_GOK = kernel_matrix(module)
        before = _relative_error(kernel_GOK, x_GPK, y_GPO)
        if before <= _EXACT:  # nothing was pruned up to here
            return before, before
        for group, outputs_OK in enumerate(kernel_GOK):
            _solve_(outputs_OK, gram_GKK[group], cross_GKO[group], ridge)
        set_kernel_(module, kernel_GOK)
        if has_offset:
            self._set_offset_((y_mean_GO - (kernel_GOK @ x_mean_GK[..., None])[..., 0]).flatten())
        return before, _relative_error(kernel_GOK, x_GPK, y_GPO)

    def note_dense(self, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        """A forward hook of the dense layer."""
        self.wanted.append(outputs_at(self.layer.module, output, *self.sampled[len(self.wanted)]))

    def _features(self, model: nn.Module, batches: list[Batch]) -> list[Tensor]:
        found: list[Tensor] = []

        def look(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            slices_P, places_P = self.sampled[len(found)]
            found.append(features_at(self.layer.module, inputs[0], slices_P, places_P, self.grid))
            raise _SeenError

        handle = self.layer.module.register_forward_pre_hook(look)
        try:
            for image_NChw, _ in batches:
                try:
                    model(image_NChw)
                except _SeenError:  # nothing behind the layer is needed
                    continue
        finally:
            handle.remove()
        return found

    def _set_offset_(self, offset_C: Tensor) -> None:
        module = self.layer.module
        if module.bias is not None:
            module.bias.copy_(offset_C)
        elif self.norm is not None:
            # The norm subtracts what would have been added.
            assert self.norm.running_mean is not None
            self.norm.running_mean.sub_(offset_C.to(self.norm.running_mean.dtype))


class _SeenError(Exception):
    """Ends a forward pass at the layer that was to be seen."""


def _solve_(outputs_OK: Tensor, gram_KK: Tensor, cross_KO: Tensor, ridge: float) -> None:
    """Put the best surviving weights into the rows of a group, in place."""
    pull = ridge * gram_KK.diagonal().mean()
    if pull == 0:  # the features are constant: only the offset matters
        return
    targets_OK = cross_KO.T + pull * outputs_OK
    if bool((outputs_OK != 0).all()):  # one system for all
        outputs_OK.copy_(torch.linalg.solve(_pulled(gram_KK.clone(), pull), targets_OK.T).T)
        return
    for row_K, target_K in zip(outputs_OK, targets_OK, strict=True):
        kept = row_K.nonzero()[:, 0]
        if len(kept):
            row_K[kept] = torch.linalg.solve(_pulled(gram_KK[kept][:, kept], pull), target_K[kept])


def _pulled(system_kk: Tensor, pull: Tensor) -> Tensor:
    system_kk.diagonal().add_(pull)
    return system_kk


def _relative_error(kernel_GOK: Tensor, x_GPK: Tensor, y_GPO: Tensor) -> float:
    """Of a kernel's output, its mean corrected, as a share of the variance of what is wanted; 0 where that is 0."""
    total = float(y_GPO.double().square().sum())
    missed_GPO = y_GPO - x_GPK @ kernel_GOK.mT.to(x_GPK.dtype)
    return float(missed_GPO.double().square().sum()) / total if total else 0.0


def _first(calibration: Calibration, n_slices: int) -> list[Batch]:
    """The first slices, in batches as they come."""
    batches: list[Batch] = []
    left = n_slices
    for image_NChw, mask_N1hw in calibration.placed():
        if left <= 0:
            break
        batches.append((image_NChw[:left], mask_N1hw[:left]))
        left -= len(image_NChw)
    return batches


def _fits(model: nn.Module, dense: nn.Module, batches: list[Batch], positions: int) -> list[_Fit]:
    """Every layer in the order in which it computes, with positions drawn and the dense outputs seen there."""
    first = batches[0][0][:1]
    layers = kernel_layers(model, first)
    norms = batch_norm_after(model, layers, first)
    fits: list[_Fit] = []

    def meet(layer: KernelLayer) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            fits.append(_Fit(layer=layer, norm=norms.get(layer.name), grid=output_grid(layer.module, output)))

        return hook

    run_with_hooks(model, first, [(layer.module, meet(layer)) for layer in layers])
    generator = torch.Generator().manual_seed(_SEED)
    for fit in fits:
        is_linear = isinstance(fit.layer.module, nn.Linear)
        fit.sampled = [_sample(mask_N1hw, fit.grid, positions, is_linear, generator) for _, mask_N1hw in batches]
    twins = dict(dense.named_modules())
    for image_NChw, _ in batches:
        run_with_hooks(dense, image_NChw, [(twins[fit.layer.name], fit.note_dense) for fit in fits])
    return fits


def _sample(
    mask_N1hw: Tensor, grid: tuple[int, ...], positions: int, is_linear: bool, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """slices_P and places_P of one batch, on its device."""
    n, device = len(mask_N1hw), mask_N1hw.device
    if is_linear:  # its rows have no place in the image
        places_P = torch.randint(math.prod(grid) * n, (positions * n,), generator=generator)
        return torch.zeros_like(places_P).to(device), places_P.to(device)
    places_NP = torch.randint(math.prod(grid), (n, positions), generator=generator)
    if len(grid) == 2:
        lesion_Np = functional.adaptive_max_pool2d(mask_N1hw, grid).flatten(1).cpu()
        half = positions // 2
        for slice_number in lesion_Np.any(1).nonzero()[:, 0].tolist():
            inside = lesion_Np[slice_number].nonzero()[:, 0]
            places_NP[slice_number, :half] = inside[torch.randint(len(inside), (half,), generator=generator)]
    slices_NP = torch.arange(n)[:, None].expand_as(places_NP)
    return slices_NP.reshape(-1).to(device), places_NP.reshape(-1).to(device)


def _mean(errors: list[float]) -> float:
    return sum(errors) / len(errors) if errors else 0.0
