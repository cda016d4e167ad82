"""A made-up data set in the layout of `kaggle_3m`, so that everything runs, and can be taught, without patient data.

Each patient is a head of smooth, soft-edged shapes: scalp, skull, folded cortex, white matter, ventricles, deep nuclei.
The lesion is bright in FLAIR and dark before contrast, with an irregular soft border. To be learnable and not trivial,
every head also holds things that are bright and no lesion: caps of the ventricles, small white-matter spots, vessels,
fat, an old bleeding. Shapes are drawn in the head's own coordinates, so a seed gives the same heads at any image size.

Shape suffixes: S slices, H rows, W columns, C channels.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from wcr_med.data.phantom_anatomy import Array, Head, draw_head, smooth_noise
from wcr_med.errors import UserError
from wcr_med.files import atomic_folder, write_json

DEFAULT_SLICES = (20, 28)
_MISSING_EVERY = 8  # one patient in so many lacks a sequence, as 9 of 110 in the real data
_TUMOUR_FREE_EVERY = 20
_SMALLEST_SIZE = 32
_FLAIR = 1
_MARKER = "phantom.json"  # tells a phantom from images of patients


@dataclass(frozen=True, kw_only=True)
class _Institution:
    """How one institution's scanner renders a head. Shares follow the real data set."""

    code: str
    share: float
    brightness_C: tuple[float, float, float]
    gamma: float
    noise: float
    bias: float
    head_size: float


_INSTITUTIONS = (
    _Institution(
        code="CS", share=0.15, brightness_C=(0.75, 0.95, 0.65), gamma=1.1, noise=0.015, bias=0.18, head_size=0.76
    ),
    _Institution(
        code="DU", share=0.41, brightness_C=(0.45, 0.60, 0.50), gamma=1.0, noise=0.020, bias=0.12, head_size=0.80
    ),
    _Institution(
        code="FG", share=0.13, brightness_C=(0.85, 0.80, 0.90), gamma=0.9, noise=0.030, bias=0.22, head_size=0.90
    ),
    _Institution(
        code="HT", share=0.31, brightness_C=(0.60, 0.45, 0.60), gamma=1.2, noise=0.012, bias=0.15, head_size=0.72
    ),
)

_CSV_COLUMNS = {
    # Codes without meaning, in the ranges of the real table; it comes without a code book too.
    "RNASeqCluster": (1, 4),
    "MethylationCluster": (1, 5),
    "miRNACluster": (1, 4),
    "CNCluster": (1, 3),
    "RPPACluster": (1, 4),
    "OncosignCluster": (1, 3),
    "COCCluster": (1, 3),
    "histological_type": (1, 3),
    "neoplasm_histologic_grade": (1, 2),
    "tumor_tissue_site": (1, 1),
    "laterality": (1, 3),
    "tumor_location": (1, 6),
    "gender": (1, 2),
    "age_at_initial_pathologic": (20, 75),
    "race": (1, 3),
    "ethnicity": (1, 2),
    "death01": (0, 1),
}


def make_phantom(
    root: Path, *, n_patients: int, seed: int, size: int = 256, slices: tuple[int, int] = DEFAULT_SLICES
) -> Path:
    """Write a phantom data set: one folder a patient with RGB slices and masks, `data.csv`, and what made it.

    Patients come from four institutions that differ in brightness, noise and field of view. The first and the last
    slice of each patient hold no tumour. One patient in eight (at least one of four or more) lacks the post-contrast
    sequence, half of these the pre-contrast one too: FLAIR stands in its place. One patient in twenty has no tumour.

    Args:
        root: the folder to make. It appears whole or not at all.
        n_patients: 1 to 9999.
        seed: the same seed gives the same files, byte by byte.
        size: rows and columns of a slice, pixels, at least 32.
        slices: fewest and most slices of a patient, at least 3.

    Returns:
        `root`.

    Raises:
        UserError: an argument is out of range, or `root` exists and is not an empty folder.
    """
    _check_arguments(root, n_patients, size, slices)
    institutions = _assign_institutions(n_patients, np.random.default_rng([seed, 0]))
    order = np.random.default_rng([seed, 1]).permutation(n_patients)
    n_missing = n_patients // _MISSING_EVERY or int(n_patients >= 4)
    missing = {int(patient): 1 + rank % 2 for rank, patient in enumerate(order[:n_missing])}
    tumour_free = {int(patient) for patient in order[::-1][: n_patients // _TUMOUR_FREE_EVERY]}
    with atomic_folder(root) as folder:
        rows = []
        for patient, institution in enumerate(institutions):
            rng = np.random.default_rng([seed, 2, patient])
            patient_id = f"TCGA_{institution.code}_{patient + 1:04d}"
            date = f"{rng.integers(1995, 2005)}{rng.integers(1, 13):02d}{rng.integers(1, 29):02d}"
            n_slices = int(rng.integers(slices[0], slices[1] + 1))
            head = draw_head(
                rng, n_slices, size, head_size=institution.head_size, with_lesion=patient not in tumour_free
            )
            image_SHWC = _scan(head, institution, rng)
            for channel in (2, 0)[: missing.get(patient, 0)]:
                image_SHWC[..., channel] = image_SHWC[..., _FLAIR]
            _write_patient(folder / f"{patient_id}_{date}", image_SHWC, head.mask_SHW)
            rows.append([patient_id, *(int(rng.integers(low, high + 1)) for low, high in _CSV_COLUMNS.values())])
        with (folder / "data.csv").open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["Patient", *_CSV_COLUMNS])
            writer.writerows(rows)
        write_json(folder / _MARKER, {"made_by": "wcr-med", "n_patients": n_patients, "seed": seed})
    return root


def is_phantom(root: Path) -> bool:
    """Whether `make_phantom` wrote this folder."""
    return (root / _MARKER).is_file()


def _check_arguments(root: Path, n_patients: int, size: int, slices: tuple[int, int]) -> None:
    if not 1 <= n_patients <= 9999:
        raise UserError(f"a phantom of {n_patients} patients: choose 1 to 9999")
    if not _SMALLEST_SIZE <= size <= 2048:
        raise UserError(f"a phantom of {size} x {size} pixels: choose {_SMALLEST_SIZE} to 2048")
    if not 3 <= slices[0] <= slices[1]:
        raise UserError(f"a phantom of {slices[0]} to {slices[1]} slices: the fewest is 3, and the range runs upwards")
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise UserError(
            f"{root}: exists already and is not empty; name a new folder for the phantom, or delete this one"
        )


def _assign_institutions(n_patients: int, rng: np.random.Generator) -> list[_Institution]:
    """One institution a patient, as many as its share tells (largest remainders), in random order."""
    shares = np.array([institution.share for institution in _INSTITUTIONS]) * n_patients
    counts = np.floor(shares).astype(int)
    for place in np.argsort(counts - shares, kind="stable")[: n_patients - counts.sum()]:
        counts[place] += 1
    dealt = np.repeat(np.arange(len(_INSTITUTIONS)), counts)
    return [_INSTITUTIONS[place] for place in rng.permutation(dealt)]


def _scan(head: Head, institution: _Institution, rng: np.random.Generator) -> Array:
    """Give a head a scanner's contrast curve, brightness, coil bias and Rician noise; uint8 (S, H, W, C)."""
    tissue_CSHW = head.tissue_CSHW
    n_channels, *grid = tissue_CSHW.shape
    image_SHWC = np.empty((*grid, n_channels), dtype=np.uint8)
    coil_SHW = smooth_noise(rng, (2, 3, 3), (grid[0], grid[1], grid[2]))
    for channel in range(n_channels):
        own_SHW = smooth_noise(rng, (2, 3, 3), (grid[0], grid[1], grid[2]))
        bias_SHW = np.exp(institution.bias * (0.7 * coil_SHW + 0.3 * own_SHW))
        brightness = institution.brightness_C[channel] * rng.uniform(0.85, 1.15)
        signal_SHW = brightness * bias_SHW * tissue_CSHW[channel] ** institution.gamma
        # Magnitude images have noise in two parts of a complex number; that leaves a floor in air.
        sigma = institution.noise * brightness
        real_SHW = signal_SHW + sigma * rng.standard_normal(signal_SHW.shape, dtype=np.float32)
        imaginary_SHW = sigma * rng.standard_normal(signal_SHW.shape, dtype=np.float32)
        image_SHWC[..., channel] = np.clip(np.hypot(real_SHW, imaginary_SHW) * 255, 0, 255).astype(np.uint8)
    return image_SHWC


def _write_patient(folder: Path, image_SHWC: Array, mask_SHW: Array) -> None:
    folder.mkdir()
    for number, (image_HWC, mask_HW) in enumerate(zip(image_SHWC, mask_SHW, strict=True), start=1):
        Image.fromarray(image_HWC).save(folder / f"{folder.name}_{number}.tif")
        Image.fromarray(mask_HW * np.uint8(255)).save(folder / f"{folder.name}_{number}_mask.tif")
