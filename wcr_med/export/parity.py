"""Does a file answer as PyTorch does, or as another file? On real slices, with the preprocessing of the edge."""

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import nn

from wcr_med.errors import UserError
from wcr_med.export.sessions import open_session
from wcr_med.export.storage.forms import Values
from wcr_med.export.storage.values import LOSSY
from wcr_med.metrics import count
from wcr_med.model_metadata import INPUTS, OUTPUTS
from wcr_med.preprocess import Prepared, PreprocessSettings, binarise, normalise, prepare
from wcr_med.volumes import Volume

Array = npt.NDArray[Any]

_SLICES_PER_VOLUME = 8  # more patients rather than more slices of one: intensities differ between scanners
_BATCH = 8


@dataclass(frozen=True, kw_only=True)
class ParityReport:
    """How far an ONNX file is from the PyTorch network, or from another file.

    Attributes:
        largest_logit_difference: over every pixel of every slice, on the network's grid; NaN if an output is not
            finite.
        logit_range: largest less smallest of the logits that were expected, on the same pixels.
        largest_dice_difference: over patients, on the files' own grid at the operating threshold: the difference of
            both Dice scores against the reference mask; without a reference, one minus the Dice of the two predictions.
        n_differing_voxels: voxels that the threshold puts on different sides.
        n_voxels: voxels compared on the files' own grid.
        n_slices: slices compared.
        n_patients: patients they come from.
    """

    largest_logit_difference: float
    logit_range: float
    largest_dice_difference: float
    n_differing_voxels: int
    n_voxels: int
    n_slices: int
    n_patients: int

    @property
    def differing_share(self) -> float:
        """Voxels on different sides of the threshold, as a share of those compared; in [0, 1]."""
        return self.n_differing_voxels / self.n_voxels

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {**asdict(self), "differing_share": self.differing_share}

    def require(self, *, logit_tolerance: float, dice_tolerance: float) -> None:
        """Stop an export that changed the network.

        Raises:
            UserError: a difference exceeds its tolerance, or is not a number.
        """
        checks = (
            ("logits", "export.logit_tolerance", self.largest_logit_difference, logit_tolerance),
            ("Dice", "export.dice_tolerance", self.largest_dice_difference, dice_tolerance),
        )
        for what, field, difference, tolerance in checks:
            if not difference <= tolerance:  # NaN fails too
                raise UserError(
                    f"the exported file differs from PyTorch: {what} by {difference:.3g}, {field} allows {tolerance:g} "
                    f"({self.n_slices} slices of {self.n_patients} patients); nothing was written. "
                    "Look for NaN or huge weights, or raise the tolerance"
                )

    def require_lossy(self, values: Values, *, dice_tolerance: float, voxel_tolerance: float) -> None:
        """Stop an export whose rounded weights changed what the network finds. Logits only have to be finite.

        Raises:
            UserError: a difference exceeds its tolerance, or is not a number. The message names the next better form.
        """
        self._require_same_findings(
            f"weights stored as {values}",
            f"nothing was written. Use --values {LOSSY[values]}",
            "lossy",
            dice_tolerance=dice_tolerance,
            voxel_tolerance=voxel_tolerance,
        )

    def require_quantised(self, *, dice_tolerance: float, voxel_tolerance: float) -> None:
        """Stop an INT8 file that finds otherwise than the portable one. Logits only have to be finite.

        Raises:
            UserError: a difference exceeds its tolerance, or is not a number.
        """
        self._require_same_findings(
            "sums of products in INT8",
            "it was not written, the portable file was. Use that",
            "quantised",
            dice_tolerance=dice_tolerance,
            voxel_tolerance=voxel_tolerance,
        )

    def _require_same_findings(
        self, cause: str, remedy: str, fields: str, *, dice_tolerance: float, voxel_tolerance: float
    ) -> None:
        if not math.isfinite(self.largest_logit_difference):
            raise UserError(f"{cause} give logits that are not finite; {remedy}")
        checks = (
            ("Dice", f"export.{fields}_dice_tolerance", self.largest_dice_difference, dice_tolerance),
            ("the share of voxels", f"export.{fields}_voxel_tolerance", self.differing_share, voxel_tolerance),
        )
        for what, field, difference, tolerance in checks:
            if difference > tolerance:
                raise UserError(
                    f"{cause} change the network: {what} by {difference:.3g}, {field} allows "
                    f"{tolerance:g} ({self.n_slices} slices of {self.n_patients} patients); {remedy}, or raise the "
                    "tolerance"
                )

    def require_same_masks(self, *, range_tolerance: float, n_voxels: int) -> None:
        """Stop an accelerated export that answers otherwise than the portable file.

        Args:
            range_tolerance: largest logit difference, as a share of the logits' range.
            n_voxels: how many voxels may lie on different sides of the threshold.

        Raises:
            UserError: a difference exceeds its tolerance, or is not a number.
        """
        where = f"({self.n_slices} slices of {self.n_patients} patients); it was not written, the portable file was"
        allowed = range_tolerance * self.logit_range
        if not self.largest_logit_difference <= allowed:  # NaN fails too
            raise UserError(
                f"the accelerated file differs from the portable one: logits by {self.largest_logit_difference:.3g}, "
                f"export.accelerate_tolerance allows {allowed:.3g} {where}. Look for NaN or huge weights, "
                "or raise the tolerance"
            )
        if self.n_differing_voxels > n_voxels:
            raise UserError(
                f"the accelerated file differs from the portable one in {self.n_differing_voxels} voxels, "
                f"export.accelerate_voxels allows {n_voxels} {where}. They may lie on the threshold to the last digit: "
                "if a few are no matter, raise it"
            )


_Answer = Callable[[Prepared, Array], tuple[Array, Array]]  # slices -> logits and probability, both (s, h, w)


def parity(
    reference: nn.Module | Path,
    onnx_path: Path,
    volumes: Iterable[Volume],
    *,
    settings: PreprocessSettings,
    threshold: float,
    n_slices: int = 64,
) -> ParityReport:
    """Compare an ONNX file with the PyTorch network it was made from, or with another file of the same network.

    Args:
        reference: images to logits, float32, on the CPU, its training mode is restored; or an ONNX file.
        onnx_path: the file; takes raw intensities (see `wcr_med.export.graph.to_onnx`).
        volumes: patients, read one at a time and only until there are enough slices: up to 8 of each, evenly spaced,
            half of them with lesion where a mask tells which.
        settings: the network's preprocessing.
        threshold: operating threshold on the probability.
        n_slices: how many slices to compare at most.

    Raises:
        UserError: there are no volumes.
    """
    expect, find = _answers(reference), _answers(onnx_path)
    logit_difference, dice_difference = 0.0, 0.0
    extremes: list[float] = []
    differing = voxels = slices = patients = 0
    for volume in volumes:
        chosen = choose_slices(volume, min(_SLICES_PER_VOLUME, n_slices - slices))
        prepared = prepare(volume.image_SHWC, settings)
        expected_Shw, expected_probability_Shw = expect(prepared, chosen)
        found_Shw, probability_Shw = find(prepared, chosen)
        extremes += [float(expected_Shw.min()), float(expected_Shw.max())]
        # np.maximum keeps a NaN, max() may drop it
        logit_difference = float(np.maximum(logit_difference, np.abs(expected_Shw - found_Shw).max()))
        expected_SHW, found_SHW = (
            binarise(prepared.frame.to_native(stack_Shw), threshold)
            for stack_Shw in (expected_probability_Shw, probability_Shw)
        )
        reference_SHW = None if volume.mask_SHW is None else volume.mask_SHW[chosen]
        dice_difference = max(dice_difference, _dice_difference(expected_SHW, found_SHW, reference_SHW))
        differing += int((expected_SHW != found_SHW).sum())
        voxels += expected_SHW.size
        slices, patients = slices + len(chosen), patients + 1
        if slices >= n_slices:
            break
    if not slices:
        raise UserError("no volumes to compare the exported file on; the export needs at least one")
    return ParityReport(
        largest_logit_difference=logit_difference,
        logit_range=max(extremes) - min(extremes),
        largest_dice_difference=dice_difference,
        n_differing_voxels=differing,
        n_voxels=voxels,
        n_slices=slices,
        n_patients=patients,
    )


def choose_slices(volume: Volume, n: int) -> Array:
    """Indices of at most `n` slices, ascending: evenly spaced, half of them with lesion where a mask tells which."""
    every = np.arange(volume.image_SHWC.shape[0])
    if volume.mask_SHW is None:
        return _spread(every, n)
    lesion = _spread(np.flatnonzero(volume.mask_SHW.any(axis=(1, 2))), (n + 1) // 2)
    return np.sort(np.concatenate([lesion, _spread(np.setdiff1d(every, lesion), n - lesion.size)]))


def _spread(indices: Array, n: int) -> Array:
    """`n` of the indices, evenly spaced from first to last; all if there are fewer."""
    if indices.size <= n:
        return indices
    chosen: Array = indices[np.linspace(0, indices.size - 1, n).round().astype(int)]
    return chosen


def _answers(reference: nn.Module | Path) -> _Answer:
    """Logits and probabilities; the runtime segments by the second, so both are compared."""
    if isinstance(reference, Path):
        session = open_session(reference, threads=torch.get_num_threads())
        return lambda prepared, chosen: _onnx_outputs(session, prepared, chosen)

    def answer(prepared: Prepared, chosen: Array) -> tuple[Array, Array]:
        logits_Shw = _torch_logits(reference, prepared, chosen)
        return logits_Shw, torch.sigmoid(torch.from_numpy(logits_Shw)).numpy()

    return answer


def _torch_logits(model: nn.Module, prepared: Prepared, chosen: Array) -> Array:
    was_training = model.training
    model.eval()
    try:
        images = torch.from_numpy(normalise(prepared.image_SChw[chosen], prepared.centre_C, prepared.spread_C))
        with torch.inference_mode():
            batches = [model(batch)[:, 0].numpy() for batch in torch.split(images, _BATCH)]
    finally:
        model.train(was_training)
    return np.concatenate(batches)


def _onnx_outputs(session: onnxruntime.InferenceSession, prepared: Prepared, chosen: Array) -> tuple[Array, Array]:
    batches = []
    for start in range(0, len(chosen), _BATCH):
        image = prepared.image_SChw[chosen[start : start + _BATCH]]
        feed = dict(zip(INPUTS, (image, prepared.centre_C, prepared.spread_C), strict=True))
        batches.append(session.run(list(OUTPUTS), feed))
    logits_N1hw, probability_N1hw = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    return logits_N1hw[:, 0], probability_N1hw[:, 0]


def _dice_difference(expected_SHW: Array, found_SHW: Array, reference_SHW: Array | None) -> float:
    """In [0, 1]. Both predictions empty: 0. A score that exists for one of them alone counts as a difference of 1."""
    if reference_SHW is None:
        both = count(expected_SHW, found_SHW).dice
        return 0.0 if math.isnan(both) else 1.0 - both
    expected, found = count(reference_SHW, expected_SHW).dice, count(reference_SHW, found_SHW).dice
    if math.isnan(expected) or math.isnan(found):
        return 0.0 if math.isnan(expected) and math.isnan(found) else 1.0
    return abs(expected - found)
