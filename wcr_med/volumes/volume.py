"""One patient's images in memory, and the fault that a damaged file raises.

Shape suffixes: S slices, H rows, W columns, C channels.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from wcr_med.errors import UserError

Array = npt.NDArray[Any]

MAX_VOXELS = 2**29
"""Of a scan: 512 x 512 x 2048. A damaged or hostile file can claim far more."""

FaultCode = Literal[
    "missing-file",  # the file does not exist
    "unreadable",  # truncated, damaged, or not the format its name says
    "wrong-type",  # another kind of pixel than the reader expects
    "wrong-shape",  # sizes that do not belong together
    "too-large",  # a header that claims more than any slice or scan holds
    "mask-values",  # a mask with values other than those agreed on
    "missing-mask",  # an image without its mask
    "missing-image",  # a mask without its image
    "bad-name",  # a file name that holds no slice number
    "repeated-slice",  # two files for one slice
    "mixed-series",  # slices of two series in one folder
    "no-slices",  # nothing to read
    "no-affine",  # a NIfTI file that does not say where its voxels lie
    "bad-geometry",  # a singular affine, or voxels without size
    "not-finite",  # NaN or infinite intensities
    "ambiguous",  # names that fit more than one purpose
    "patient-twice",  # two folders for one patient
]


class FileError(UserError):
    """A file that cannot be used. The message reads "<path>: <what is wrong>; <how to mend it>".

    Attributes:
        path: the file or folder.
        code: the kind of fault, stable for programs.
        problem: the message without the path.
    """

    def __init__(self, path: Path, code: FaultCode, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.code: FaultCode = code
        self.problem = " ".join(problem.split())

    def __reduce__(self) -> tuple[type["FileError"], tuple[Path, FaultCode, str]]:
        # Worker processes send this back; the default would rebuild it from the message alone.
        return type(self), (self.path, self.code, self.problem)


@dataclass(frozen=True, kw_only=True, eq=False)
class NiftiGeometry:
    """What is needed to write a result into the very space of a NIfTI input.

    Attributes:
        affine_44: float64, voxel indices of the file to millimetres in RAS+ (header units are converted).
        shape: voxels along the file's own three axes.
        orientation_32: nibabel's orientation array of the file's axes: (axis of RAS, direction) in each row.
        header: the file's own header, byte by byte (348 bytes: NIfTI-1, 540: NIfTI-2), so that qform, sform and voxel
            sizes of a result are those of the input to the last bit.
    """

    affine_44: Array
    shape: tuple[int, int, int]
    orientation_32: Array
    header: bytes


@dataclass(frozen=True, kw_only=True, eq=False)
class Volume:
    """All slices of one patient. An invalid one cannot be built.

    Attributes:
        patient_id: names the patient; unique within a data set.
        image_SHWC: (slices, rows, columns, channels), the file's own dtype, finite; none of the sizes is zero. May be
            a view of any order, or of a file (`wcr_med.volumes.scratch`).
        mask_SHW: uint8, 0 background and 1 lesion; `None` where no mask was read.
        spacing_mm: millimetres between slices, rows and columns; `None` where the files do not tell.
        names: one a slice: the file's stem, or the running number from 0 for NIfTI.
        nifti: the input's space, `None` for other formats.
        origins: what each channel was read from, for a reader; empty where the format leaves no choice.
        left_out: parts of the input that were not read, for a reader.
        references: DICOM alone: the files of the first channel, along the normal of their plane.

    Raises:
        ValueError: the parts do not fit each other.
    """

    patient_id: str
    image_SHWC: Array
    mask_SHW: Array | None
    spacing_mm: tuple[float, float, float] | None
    names: tuple[str, ...]
    nifti: NiftiGeometry | None
    origins: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    references: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        shape = self.image_SHWC.shape
        if self.image_SHWC.ndim != 4 or 0 in shape:
            raise ValueError(f"image of shape {shape}, expected slices x rows x columns x channels, none zero")
        if len(self.names) != shape[0]:
            raise ValueError(f"{len(self.names)} names for {shape[0]} slices")
        if self.spacing_mm is not None and not all(0 < size < np.inf for size in self.spacing_mm):
            raise ValueError(f"spacing {self.spacing_mm} mm, expected positive numbers")
        if self.mask_SHW is None:
            return
        if self.mask_SHW.shape != shape[:3]:
            raise ValueError(f"mask of shape {self.mask_SHW.shape} for an image of shape {shape}")
        if self.mask_SHW.dtype != np.uint8 or self.mask_SHW.max() > 1:
            raise ValueError("mask values other than uint8 0 and 1")
