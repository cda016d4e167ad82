"""The changes of `wcr_med.augment`, applied to a whole batch where it lies.

The same draws as on the host, in the same order, in float32; results differ by how OpenCV and torch interpolate.
Nothing here waits for the device: what depends on the draws is known on the host.

Shape suffixes: N slices of a batch, E those that are warped, h and w rows and columns, C channels, k control points.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from wcr_med.augment import AIR_STRIDE, ELASTIC_SHIFT, Change

_INTEGERS, _FLOATS = torch.int64, torch.float32


class ChangeBatch(NamedTuple):
    """The changes of a batch as tensors, ready to be copied to a device; a loader process makes it.

    Attributes:
        warped_E: int64, which slices an elastic warp takes.
        control_E2kk: float32, its control points.
        source_N23: float32, pixel (column, row, 1) of the result -> where it comes from, the flip included; `None`
            where none of them moves.
        gain_NC: float32; `offset_NC` likewise.
        noise_start_N: int64; `noise_sigma_N` float32; both `None` without noise.
    """

    warped_E: Tensor
    control_E2kk: Tensor
    source_N23: Tensor | None
    gain_NC: Tensor
    offset_NC: Tensor
    noise_start_N: Tensor | None
    noise_sigma_N: Tensor | None

    def to(self, device: torch.device) -> "ChangeBatch":
        """The same on a device; from pinned memory without waiting."""
        moved: list[Any] = [part if part is None else part.to(device, non_blocking=True) for part in self]
        return ChangeBatch(*moved)


def batch_changes(changes: Sequence[Change], *, columns: int) -> ChangeBatch:
    """Gather the changes of one batch.

    Args:
        changes: one a slice; at least one.
        columns: of a slice, which a flip needs to know.
    """
    warped = [place for place, change in enumerate(changes) if change.control_kk2 is not None]
    control_Ekk2 = [change.control_kk2 for change in changes if change.control_kk2 is not None]
    moves = any(change.flip or change.matrix_33 is not None for change in changes)
    noisy = any(change.noise_sigma > 0 for change in changes)
    return ChangeBatch(
        warped_E=torch.tensor(warped, dtype=_INTEGERS),
        control_E2kk=torch.from_numpy(np.array(control_Ekk2, dtype=np.float32).transpose(0, 3, 1, 2).copy())
        if warped
        else torch.empty(0, 2, 1, 1),
        source_N23=torch.from_numpy(np.stack([_source(change, columns) for change in changes])) if moves else None,
        gain_NC=torch.from_numpy(np.stack([change.gain_C for change in changes])),
        offset_NC=torch.from_numpy(np.stack([change.offset_C for change in changes])),
        noise_start_N=torch.tensor([change.noise_start for change in changes], dtype=_INTEGERS) if noisy else None,
        noise_sigma_N=torch.tensor([change.noise_sigma for change in changes], dtype=_FLOATS) if noisy else None,
    )


@torch.no_grad()
def apply_changes(
    images_NChw: Tensor, masks_N1hw: Tensor, changes: ChangeBatch, noise: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Images and masks, changed; new tensors.

    Args:
        images_NChw: float32, any layout.
        masks_N1hw: float32, 0 and 1.
        changes: of these slices, on their device.
        noise: `wcr_med.augment.noise_bank` of a slice's size, on the device; `None` only without noise.

    Returns:
        Both float32 and as large as they were; masks hold 0 and 1.
    """
    air_NC11 = images_NChw[:, :, ::AIR_STRIDE, ::AIR_STRIDE].amin((2, 3), keepdim=True)
    # Moved by its air, what comes in from outside, zero, is air.
    images_NChw = images_NChw - air_NC11
    if len(changes.warped_E):
        images_EChw, masks_E1hw = images_NChw[changes.warped_E], masks_N1hw[changes.warped_E]
        grid_Ehw2 = _elastic_grid(changes.control_E2kk, images_NChw.shape[2:])
        images_EChw, masks_E1hw = _sample(images_EChw, masks_E1hw, grid_Ehw2)
        images_NChw = images_NChw.index_copy(0, changes.warped_E, images_EChw)
        masks_N1hw = masks_N1hw.index_copy(0, changes.warped_E, masks_E1hw)
    if changes.source_N23 is not None:
        grid_Nhw2 = _affine_grid(changes.source_N23, images_NChw.shape[2:])
        images_NChw, masks_N1hw = _sample(images_NChw, masks_N1hw, grid_Nhw2)
    gain_NC11, offset_NC11 = changes.gain_NC[:, :, None, None], changes.offset_NC[:, :, None, None]
    images_NChw = images_NChw * gain_NC11 + (gain_NC11 * air_NC11 + offset_NC11)
    if changes.noise_start_N is not None and changes.noise_sigma_N is not None:
        assert noise is not None
        n_slices, n_channels, rows, columns = images_NChw.shape
        # Each slice takes a stretch of the bank; seen as overlapping rows it is gathered without a list of places.
        noise_NV = noise.unfold(0, rows * columns * n_channels, 1)[changes.noise_start_N]
        noise_NChw = noise_NV.view(n_slices, rows, columns, n_channels).permute(0, 3, 1, 2)
        images_NChw = torch.addcmul(images_NChw, noise_NChw, changes.noise_sigma_N[:, None, None, None])
    return images_NChw, masks_N1hw


def _source(change: Change, columns: int) -> npt.NDArray[np.float32]:
    """Rows 0 and 1 of the map from a pixel of the result to its source, float32 (2, 3)."""
    matrix_33 = np.eye(3) if change.matrix_33 is None else np.linalg.inv(change.matrix_33)
    if change.flip:  # came before the affine map, so it is undone after it
        matrix_33 = np.array([[-1, 0, columns - 1], [0, 1, 0], [0, 0, 1]]) @ matrix_33
    source_23: npt.NDArray[np.float32] = matrix_33[:2].astype(np.float32)
    return source_23


def _affine_grid(source_N23: Tensor, size: Sequence[int]) -> Tensor:
    # Written out: as a matrix product it might be computed in TF32, which would be a pixel off at the far end.
    columns_w, rows_h1 = _pixels(size, source_N23)
    (a_N11, b_N11, c_N11), (d_N11, e_N11, f_N11) = (
        axis_N3[:, :, None, None].unbind(1) for axis_N3 in source_N23.unbind(1)
    )
    column_Nhw = a_N11 * columns_w + b_N11 * rows_h1 + c_N11
    row_Nhw = d_N11 * columns_w + e_N11 * rows_h1 + f_N11
    return torch.stack([_normalised(column_Nhw, size[1]), _normalised(row_Nhw, size[0])], dim=-1)


def _elastic_grid(control_E2kk: Tensor, size: Sequence[int]) -> Tensor:
    rows, columns = size
    shift_E2hw = F.interpolate(control_E2kk, size=(rows, columns), mode="bicubic", align_corners=False)
    columns_w, rows_h1 = _pixels(size, control_E2kk)
    column_Ehw = shift_E2hw[:, 0] * (columns * ELASTIC_SHIFT) + columns_w
    row_Ehw = shift_E2hw[:, 1] * (rows * ELASTIC_SHIFT) + rows_h1
    return torch.stack([_normalised(column_Ehw, columns), _normalised(row_Ehw, rows)], dim=-1)


def _pixels(size: Sequence[int], like: Tensor) -> tuple[Tensor, Tensor]:
    rows, columns = size
    return (
        torch.arange(columns, dtype=like.dtype, device=like.device),
        torch.arange(rows, dtype=like.dtype, device=like.device)[:, None],
    )


def _normalised(places: Tensor, n: int) -> Tensor:
    """Pixel numbers to -1 at the first pixel's outer edge and 1 at the last one's, as `grid_sample` wants them."""
    return (2 * places + 1) / n - 1


def _sample(images_NChw: Tensor, masks_N1hw: Tensor, grid_Nhw2: Tensor) -> tuple[Tensor, Tensor]:
    """Both at the places of the grid: images between pixels, masks at the nearest, zero outside."""
    return (
        F.grid_sample(images_NChw, grid_Nhw2, mode="bilinear", padding_mode="zeros", align_corners=False),
        F.grid_sample(masks_N1hw, grid_Nhw2, mode="nearest", padding_mode="zeros", align_corners=False),
    )
