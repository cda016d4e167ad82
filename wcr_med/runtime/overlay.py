"""Pictures of slices with the outline of the mask, for a look at what was found."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from wcr_med.channel_names import KAGGLE_CHANNELS, names_of_patterns, numbered
from wcr_med.files import atomic_path
from wcr_med.model_metadata import ModelMetadata
from wcr_med.pictures import Marks, background_channel, draw, window
from wcr_med.volumes import Volume

Array = npt.NDArray[Any]

_LEGEND = (("network", "outline by the network"),)


def sequence_names(metadata: ModelMetadata, kind: str, origins: Sequence[str] = ()) -> tuple[str, ...]:
    """Names of a volume's channels, in the network's order.

    Those of the model file; of a file that names none, those of the layout, of its file patterns, or of the series or
    files that the channels were read from; else "channel 1" and so on.

    Args:
        metadata: of the model file.
        kind: of the source: "kaggle_3m", "images", "nifti" or "dicom".
        origins: what each channel was read from; empty where it does not matter.
    """
    names: Sequence[str] | None = metadata.channels
    if names is None and kind == "kaggle_3m":
        names = KAGGLE_CHANNELS
    if names is None and metadata.channel_files is not None:
        try:
            names = tuple(names_of_patterns(metadata.channel_files))
        except ValueError:
            names = None
    if names is None:
        names = origins
    return numbered(names, metadata.in_channels)


class Overlays:
    """Writes a picture a slice. What stands in it: `wcr_med.pictures`."""

    are_masks = False

    def __init__(
        self,
        paths: Sequence[Path],
        volume: Volume,
        names: Sequence[str],
        spacing_mm: tuple[float, float, float] | None,
    ) -> None:
        """Choose channel and window.

        Args:
            paths: PNG files, one a slice.
            volume: as read.
            names: of its channels.
            spacing_mm: between slices, rows and columns; `None`: not known, and the scale is in pixels.
        """
        self.paths = paths
        self._channel = background_channel(names)
        self._name = names[self._channel]
        self._limits = window(volume.image_SHWC[..., self._channel])
        self._sides_known = volume.nifti is not None
        self._spacing_mm = spacing_mm

    def add(self, place: slice, image_SHWC: Array, _probability_SHW: Array, mask_SHW: Array) -> None:
        """Write the pictures of a batch."""
        first = place.indices(len(self.paths))[0]
        for offset, (image_HWC, mask_HW) in enumerate(zip(image_SHWC, mask_SHW, strict=True)):
            picture = self.picture(first + offset, image_HWC, mask_HW)
            with atomic_path(self.paths[first + offset]) as temporary:
                Image.fromarray(picture).save(temporary, format="PNG")

    def finish(self) -> None:
        """Each picture is written already."""

    def picture(self, index: int, image_HWC: Array, mask_HW: Array) -> Array:
        """One picture, uint8 (rows, columns, 3).

        Args:
            index: of the slice, from 0.
            image_HWC: raw intensities.
            mask_HW: above zero is lesion.
        """
        spacing_mm = self._spacing_mm
        marks = Marks(
            sequence=self._name,
            number=index + 1,
            n_slices=len(self.paths),
            sides_known=self._sides_known,
            column_mm=spacing_mm[2] if spacing_mm else None,
            legend=_LEGEND,
        )
        return draw(
            image_HWC[..., self._channel],
            self._limits,
            {"network": np.asarray(mask_HW) > 0},
            marks,
            pixel_aspect=spacing_mm[1] / spacing_mm[2] if spacing_mm else 1.0,
        )
