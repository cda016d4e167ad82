"""Does a standalone file find what the portable file finds with the preprocessing of this package? On whole volumes."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wcr_med.errors import UserError
from wcr_med.export.sessions import open_session
from wcr_med.export.standalone.assembly import IMAGE, MASK, PROBABILITY
from wcr_med.model_metadata import INPUTS, OUTPUTS, ModelMetadata
from wcr_med.preprocess import binarise, predict_volume
from wcr_med.volumes import Volume

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class StandaloneParity:
    """How far a standalone file is from the portable one.

    Attributes:
        largest_probability_difference: over every voxel of every volume; NaN if an output is not finite.
        n_differing_voxels: voxels that the masks do not share.
        n_voxels: voxels compared.
        n_lesion_voxels: of the masks expected.
        n_slices: slices compared.
        n_patients: volumes they come from.
    """

    largest_probability_difference: float
    n_differing_voxels: int
    n_voxels: int
    n_lesion_voxels: int
    n_slices: int
    n_patients: int

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return asdict(self)

    def require(self, *, tolerance: float, n_voxels: int) -> None:
        """Stop a file that answers otherwise.

        Args:
            tolerance: largest difference of probabilities.
            n_voxels: how many voxels may lie on different sides of the threshold.

        Raises:
            UserError: a difference exceeds its tolerance, or is not a number.
        """
        where = f"({self.n_slices} slices of {self.n_patients} patients); it was not written, the portable file stays"
        if not self.largest_probability_difference <= tolerance:  # NaN fails too
            raise UserError(
                f"the standalone file differs from the portable one: probabilities by "
                f"{self.largest_probability_difference:.3g}, {tolerance:g} is allowed {where}. "
                "Look for NaN or huge weights"
            )
        if self.n_differing_voxels > n_voxels:
            raise UserError(
                f"the standalone file differs from the portable one in {self.n_differing_voxels} of {self.n_voxels} "
                f"voxels, {n_voxels} are allowed {where}. They lie on the threshold to the last digits, since "
                f"probabilities differ by {self.largest_probability_difference:.1g} at most: if that is no matter, "
                "call standalone_of with a larger allowed_voxels"
            )


def compare(
    portable: Path, standalone: Path, volumes: Iterable[Volume], metadata: ModelMetadata, *, n_slices: int, threads: int
) -> StandaloneParity:
    """Segment volumes with both files.

    Args:
        portable: run with the preprocessing of `wcr_med.preprocess`.
        standalone: run alone.
        volumes: of 8-bit images; read one at a time, whole, until there are `n_slices` slices.
        metadata: of both.
        n_slices: how many slices are enough.
        threads: processor threads; 0 leaves the number to ONNX Runtime.

    Raises:
        UserError: there are no volumes, one is not 8-bit, or one has another number of channels.
    """
    network, whole = (open_session(path, threads=threads) for path in (portable, standalone))

    def forward(*arrays: Array) -> Array:
        answer: Array = network.run([OUTPUTS[1]], dict(zip(INPUTS, arrays, strict=True)))[0]
        return answer[:, 0]

    difference = 0.0
    differing = voxels = lesion = slices = patients = 0
    for volume in volumes:
        _require_8_bit(volume, metadata)
        image_SHWC = np.ascontiguousarray(volume.image_SHWC)
        expected_SHW = predict_volume(image_SHWC, metadata.preprocess, forward)
        mask_SHW, found_SHW = whole.run([MASK, PROBABILITY], {IMAGE: image_SHWC})
        # np.maximum keeps a NaN, max() may drop it
        difference = float(np.maximum(difference, np.abs(expected_SHW - found_SHW).max()))
        expected_mask_SHW = binarise(expected_SHW, metadata.threshold)
        differing += int((expected_mask_SHW != mask_SHW).sum())
        lesion += int(expected_mask_SHW.sum())
        voxels += mask_SHW.size
        slices, patients = slices + len(mask_SHW), patients + 1
        if slices >= n_slices:
            break
    if not patients:
        raise UserError("no volumes to compare the standalone file on; give at least one patient")
    return StandaloneParity(
        largest_probability_difference=difference,
        n_differing_voxels=differing,
        n_voxels=voxels,
        n_lesion_voxels=lesion,
        n_slices=slices,
        n_patients=patients,
    )


def _require_8_bit(volume: Volume, metadata: ModelMetadata) -> None:
    image_SHWC = volume.image_SHWC
    if image_SHWC.dtype != np.uint8:
        raise UserError(
            f"{volume.patient_id}: images of {image_SHWC.dtype}, but a standalone file takes raw 8-bit slices; "
            "use the portable file with `wcr-med infer` or wcr_med.runtime"
        )
    if image_SHWC.shape[-1] != metadata.in_channels:
        raise UserError(
            f"{volume.patient_id}: the image has {image_SHWC.shape[-1]} channels, the network takes "
            f"{metadata.in_channels}; give the sequences that it was trained with"
        )
