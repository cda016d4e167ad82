"""One patient after another: the reference, the network's answer, and whether it can be one."""

import logging
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy.typing as npt

from wcr_med.data.index import PatientEntry
from wcr_med.errors import UserError
from wcr_med.evaluation.predictors import Predictor
from wcr_med.progress import track
from wcr_med.volumes import Volume

Array = npt.NDArray[Any]

_LOG = logging.getLogger(__name__)


def show_progress(entries: Sequence[PatientEntry], label: str, progress: bool) -> Iterator[PatientEntry]:
    """The entries, with progress shown as they pass."""
    return track(entries, label=label, unit="patient", total=len(entries), log=_LOG, enabled=progress)


def reference_of(volume: Volume) -> Array:
    """The reference mask, uint8 (slices, rows, columns).

    Raises:
        UserError: there is none.
    """
    if volume.mask_SHW is None:
        raise UserError(f"patient {volume.patient_id} has no reference mask; an evaluation needs one")
    return volume.mask_SHW


def predict(predictor: Predictor, volume: Volume, *, network: str | None = None) -> Array:
    """The network's answer for a patient: probability_SHW, float32 in [0, 1].

    Args:
        predictor: raw volume to probabilities on the same grid.
        volume: the patient.
        network: its name, for messages; `None` if unknown.

    Raises:
        UserError: the predictor refused, or its answer is not one probability in [0, 1] for each voxel. The message
            names patient and network.
    """
    who = f"patient {volume.patient_id}" + (f", network {network}" if network else "")
    try:
        probability_SHW = predictor(volume.image_SHWC)
    except UserError as error:
        raise UserError(f"{who}: {error}") from error
    if probability_SHW.shape != volume.image_SHWC.shape[:3]:
        raise UserError(
            f"{who}: probabilities of shape {probability_SHW.shape} for {volume.image_SHWC.shape[:3]} voxels;"
            " the network does not fit these images"
        )
    lowest, highest = float(probability_SHW.min()), float(probability_SHW.max())
    if not (lowest >= 0 and highest <= 1):
        found = f"from {lowest:g} to {highest:g}" if not math.isnan(lowest + highest) else "with NaN"
        raise UserError(
            f"{who}: probabilities {found}, expected 0 to 1; the network is damaged: train, prune or export it again"
        )
    return probability_SHW
