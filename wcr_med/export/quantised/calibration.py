"""The slices from which the ranges of activations are read."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from wcr_med.errors import UserError
from wcr_med.export.parity import choose_slices
from wcr_med.model_metadata import INPUTS
from wcr_med.preprocess import PreprocessSettings, prepare
from wcr_med.volumes import Volume

Array = npt.NDArray[Any]
Feed = dict[str, Array]

_SLICES_PER_VOLUME = 4  # more patients rather than more slices of one: intensities differ between scanners


def calibration_feeds(volumes: Iterable[Volume], settings: PreprocessSettings, *, n_slices: int = 64) -> list[Feed]:
    """Inputs of the graph, one slice each.

    Args:
        volumes: patients of the training or validation set, never of the test set; read one at a time and only until
            there are enough slices: up to 4 of each, evenly spaced, half of them with lesion where a mask tells which.
        settings: the network's preprocessing.
        n_slices: how many slices at most.

    Raises:
        UserError: there are no volumes.
    """
    feeds: list[Feed] = []
    for volume in volumes:
        prepared = prepare(volume.image_SHWC, settings)
        for index in choose_slices(volume, min(_SLICES_PER_VOLUME, n_slices - len(feeds))):
            image_1Chw = np.ascontiguousarray(prepared.image_SChw[index : index + 1])
            feeds.append(dict(zip(INPUTS, (image_1Chw, prepared.centre_C, prepared.spread_C), strict=True)))
        if len(feeds) >= n_slices:
            break
    if not feeds:
        raise UserError("no volumes to calibrate the INT8 file with; it needs at least one training patient")
    return feeds
