"""A model file as a function from images to lesion masks."""

from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnxruntime

from wcr_med.errors import UserError
from wcr_med.model_metadata import INPUTS, METADATA_KEY, OUTPUTS, ModelMetadata
from wcr_med.native.sessions import ORT_ERRORS, reason
from wcr_med.preprocess import binarise, predict_volume
from wcr_med.runtime.session import session

Array = npt.NDArray[Any]


class Segmenter:
    """A network that is ready to segment. Make one with `Segmenter.from_file`.

    ONNX Runtime is asked to take denormal numbers (below 1.2e-38) for zero. It sets this for good in the thread that
    opens the first session of a process, so other arithmetic of that thread does the same from then on.

    Attributes:
        metadata: what the file says about itself.
        source: the file's path, for messages.
    """

    def __init__(self, session: onnxruntime.InferenceSession, metadata: ModelMetadata, *, source: str) -> None:
        self.metadata = metadata
        self.source = source
        self._session = session

    @classmethod
    def from_file(cls, path: Path, *, threads: int = 0) -> "Segmenter":
        """Load a model file and check that it is one of ours, before any image is read.

        Args:
            path: an ONNX file that `wcr-med export` wrote, portable or accelerated.
            threads: processor threads; 0 leaves the number to ONNX Runtime.

        Raises:
            UserError: no such file, truncated, not ONNX, without or with other metadata, of another task, with other
                inputs and outputs than the metadata promise, or accelerated where the accelerator was not built.
        """
        opened = session(path, threads=threads)
        # Missing in the map: the file has no metadata of ours.
        document = opened.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        metadata = ModelMetadata.from_json(document, source=str(path))
        _require_signature(opened, metadata, path)
        return cls(opened, metadata, source=str(path))

    def probability(self, image_SHWC: Array, *, batch_size: int = 16) -> Array:
        """Foreground probability of every voxel.

        Args:
            image_SHWC: (slices, rows, columns, channels), one whole volume, any real dtype, finite. Statistics are
                taken over the volume, so a slice gives other numbers alone than among its neighbours.
            batch_size: slices a forward pass; bounds the memory.

        Returns:
            probability_SHW, float32 in [0, 1], on the image's own grid.

        Raises:
            UserError: another number of channels than the network's, NaN or infinite values, or no slices.
        """
        needed = self.metadata.in_channels
        if image_SHWC.ndim == 4 and image_SHWC.shape[3] != needed:
            raise UserError(
                f"the image has {image_SHWC.shape[3]} channels, {self.source} takes {needed}; "
                "give the sequences that the network was trained with, in their order"
            )
        return predict_volume(image_SHWC, self.metadata.preprocess, self._forward, batch_size=batch_size)

    def mask(self, image_SHWC: Array, *, batch_size: int = 16) -> Array:
        """Lesion mask of a volume at the file's own operating threshold; uint8, 0 and 1. See `probability`."""
        return self.binarise(self.probability(image_SHWC, batch_size=batch_size))

    def binarise(self, probability: Array) -> Array:
        """The mask of a probability map at the file's own operating threshold; see `wcr_med.preprocess.binarise`."""
        return binarise(probability, self.metadata.threshold)

    def _forward(self, image_Schw: Array, centre_C: Array, spread_C: Array) -> Array:
        feed = dict(zip(INPUTS, (image_Schw, centre_C, spread_C), strict=True))
        try:
            probability_S1hw = self._session.run([OUTPUTS[1]], feed)[0]
        except ORT_ERRORS as error:
            raise UserError(f"{self.source}: ONNX Runtime cannot run it ({reason(error)}); export it again") from error
        probability_Shw: Array = probability_S1hw[:, 0]
        return probability_Shw


def _require_signature(session: onnxruntime.InferenceSession, metadata: ModelMetadata, path: Path) -> None:
    settings, channels = metadata.preprocess, metadata.in_channels
    grid = (settings.height, settings.width)
    expected = dict(zip(INPUTS, ((None, channels, *grid), (channels,), (channels,)), strict=True))
    expected |= dict.fromkeys(OUTPUTS, (None, 1, *grid))
    found = {value.name: value for value in (*session.get_inputs(), *session.get_outputs())}
    if set(found) != set(expected):
        wrong = ", ".join(sorted(set(found) ^ set(expected)))
        raise UserError(f"{path}: graph inputs or outputs missing or unknown: {wrong}; export the network again")
    for name, shape in expected.items():
        value = found[name]
        if value.type != "tensor(float)" or not _fits(value.shape, shape):
            raise UserError(
                f"{path}: {name} is {value.type} {value.shape}, but its metadata promise tensor(float) {list(shape)}; "
                "export the network again"
            )


def _fits(found: list[int | str | None], expected: tuple[int | None, ...]) -> bool:
    """Same rank, and the same size wherever both are numbers."""
    return len(found) == len(expected) and all(
        not isinstance(have, int) or want is None or have == want for have, want in zip(found, expected, strict=True)
    )
