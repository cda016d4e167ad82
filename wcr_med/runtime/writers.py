"""Writing results a batch of slices at a time."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from wcr_med.files import atomic_path
from wcr_med.model_metadata import ModelMetadata
from wcr_med.runtime.options import InferenceOptions
from wcr_med.runtime.overlay import Overlays, sequence_names
from wcr_med.runtime.sources import Source
from wcr_med.volumes import Volume
from wcr_med.volumes.images import write_mask_image
from wcr_med.volumes.names import DICOM_MASK_SUFFIX

Array = npt.NDArray[Any]


class Writer(Protocol):
    """Takes the batches of one volume in their order."""

    @property
    def paths(self) -> Sequence[Path]:
        """Of the files that it will have written after `finish`."""

    @property
    def are_masks(self) -> bool:
        """Whether they hold masks."""

    def add(self, place: slice, image_SHWC: Array, probability_SHW: Array, mask_SHW: Array) -> None:
        """Take one batch; `place` is where it stands among the slices."""

    def finish(self) -> None:
        """Write what is not written yet."""


def open_writers(
    source: Source, volume: Volume, metadata: ModelMetadata, folder: Path, options: InferenceOptions, *, model: str
) -> list[Writer]:
    """What has to be written of a volume.

    Args:
        source: where the volume is from.
        volume: as read.
        metadata: of the model file.
        folder: that takes the files, under the names they will have in the output folder.
        options: of the call.
        model: name of the model file.
    """
    target = folder / source.name
    writers: list[Writer] = []
    as_slices = source.kind in ("kaggle_3m", "images") and options.mask_format == "own"
    if as_slices:
        suffixes = [path.suffix.lower() for path in source.files] or [".tif"] * len(volume.names)
        names = [f"{name}_mask{suffix}" for name, suffix in zip(volume.names, suffixes, strict=True)]
        writers.append(_Slices([target / name for name in names], _mask_slice, are_masks=True))
        if options.probabilities:
            paths = [target / f"{name}_probability.tif" for name in volume.names]
            writers.append(_Slices(paths, _probability_slice))
    elif source.kind == "dicom" and options.mask_format == "own":
        writers.append(_DicomMask(volume, _named(target, DICOM_MASK_SUFFIX), model))
    else:
        writers.append(_Nifti(volume, options, _named(target, "_mask.nii.gz"), folder, mask=True))
    if options.probabilities and not as_slices:
        writers.append(_Nifti(volume, options, _named(target, "_probability.nii.gz"), folder, mask=False))
    if options.overlays:
        width = len(volume.names[-1]) if volume.nifti is not None else 0
        pictures = [_named(target, "_overlays") / f"{name.zfill(width)}.png" for name in volume.names]
        sequences = sequence_names(metadata, source.kind, volume.origins)
        writers.append(Overlays(pictures, volume, sequences, volume.spacing_mm or options.spacing_mm))
    return writers


def _named(target: Path, end: str) -> Path:
    return target.with_name(target.name + end)


class _Slices:
    """A file a slice."""

    def __init__(
        self, paths: Sequence[Path], write: Callable[[Path, Array, Array, Array], None], *, are_masks: bool = False
    ) -> None:
        self.paths = paths
        self.are_masks = are_masks
        self._write = write

    def add(self, place: slice, image_SHWC: Array, probability_SHW: Array, mask_SHW: Array) -> None:
        for slices in zip(self.paths[place], image_SHWC, probability_SHW, mask_SHW, strict=True):
            self._write(*slices)

    def finish(self) -> None:
        """Each slice is written already."""


def _mask_slice(path: Path, _image_HWC: Array, _probability_HW: Array, mask_HW: Array) -> None:
    write_mask_image(mask_HW, path)


def _probability_slice(path: Path, _image_HWC: Array, probability_HW: Array, _mask_HW: Array) -> None:
    with atomic_path(path) as temporary:
        Image.fromarray(probability_HW.astype(np.float32)).save(temporary, format="TIFF")


class _Nifti:
    """One file, in the input's own grid; of inputs without a place in space in one made up for them."""

    def __init__(self, volume: Volume, options: InferenceOptions, path: Path, scratch: Path, *, mask: bool) -> None:
        # Imported here, so that slices are segmented without loading nibabel.
        from wcr_med.volumes.nifti import NiftiResult, diagonal_geometry

        n_slices, n_rows, n_columns = volume.image_SHWC.shape[:3]
        spacing_mm = volume.spacing_mm or options.spacing_mm
        geometry = volume.nifti or diagonal_geometry((n_slices, n_rows, n_columns), spacing_mm)
        self._result = NiftiResult(geometry, np.uint8 if mask else np.float32, scratch=scratch)
        self.paths = (path,)
        self.are_masks = mask

    def add(self, place: slice, _image_SHWC: Array, probability_SHW: Array, mask_SHW: Array) -> None:
        self._result.values_SHW[place] = mask_SHW if self.are_masks else probability_SHW

    def finish(self) -> None:
        self._result.save(self.paths[0])


class _DicomMask:
    """One segmentation object; its library needs the whole mask at once."""

    def __init__(self, volume: Volume, path: Path, model: str) -> None:
        self.paths, self.are_masks = (path,), True
        self._volume, self._model = volume, model
        self._mask_SHW = np.zeros(volume.image_SHWC.shape[:3], dtype=np.uint8)

    def add(self, place: slice, _image_SHWC: Array, _probability_SHW: Array, mask_SHW: Array) -> None:
        self._mask_SHW[place] = mask_SHW

    def finish(self) -> None:
        from wcr_med.runtime.dicom_seg import write_dicom_seg

        write_dicom_seg(self._volume, self._mask_SHW, self.paths[0], model=self._model)
