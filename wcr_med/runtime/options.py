"""What a call of `infer` is to do, checked when it is made."""

from dataclasses import dataclass
from typing import Literal, get_args

from wcr_med.errors import UserError
from wcr_med.runtime.result import checked_spacing

MaskFormat = Literal["own", "nifti"]
"""Masks in the input's own format, or all as NIfTI."""


@dataclass(frozen=True, kw_only=True)
class InferenceOptions:
    """How volumes are segmented and what is written of each.

    Attributes:
        mask_format: "own": as the input; "nifti": `.nii.gz` for all.
        probabilities: write probabilities too, float32.
        overlays: write PNG pictures of the slices with the outline of the mask too.
        threshold: in (0, 1), for the mask; `None`: the model file's own.
        spacing_mm: between slices, rows and columns, for inputs that do not tell; `None`: unknown.
        batch_size: slices a forward pass, at least 1; bounds the memory.
        threads: processor threads of all processes together; 0: as many as there are processors.
        processes: volumes that are segmented at the same time, at least 1.
        channels: each `NAME=SELECTOR`, which part of the input is which channel; see `wcr_med.volumes.choice`.
        resume: keep what an earlier call finished with the same model file and the same options.

    Raises:
        UserError: a value is out of range.
    """

    mask_format: MaskFormat = "own"
    probabilities: bool = False
    overlays: bool = False
    threshold: float | None = None
    spacing_mm: tuple[float, float, float] | None = None
    batch_size: int = 4
    threads: int = 0
    processes: int = 1
    channels: tuple[str, ...] = ()
    resume: bool = False

    def __post_init__(self) -> None:
        checked_spacing(self.spacing_mm)
        if self.mask_format not in get_args(MaskFormat):
            raise UserError(f"format {self.mask_format!r}: give one of {', '.join(get_args(MaskFormat))}")
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise UserError(f"threshold {self.threshold:g}: give a number between 0 and 1, both excluded")
        for name, least in (("batch_size", 1), ("threads", 0), ("processes", 1)):
            if getattr(self, name) < least:
                raise UserError(f"{name} {getattr(self, name)}: give {least} or more")
