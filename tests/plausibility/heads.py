"""Heads of three sequences with contrasts of their own, made up: enough of them to learn what they look like."""

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

NAMES = ("T1", "FLAIR", "T1c")
# Of skull and fat, tissue, and fluid, by channel.
_LEVELS = np.array([[900.0, 400.0, 150.0], [700.0, 450.0, 60.0], [950.0, 420.0, 160.0]])


def head(seed: int, *, n_slices: int = 6, size: int = 64) -> np.ndarray:
    """image_SHWC, int16, at least 0."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size] / size - 0.5
    radius = np.hypot(rows, columns * rng.uniform(1.0, 1.15))
    levels = _LEVELS * rng.uniform(0.9, 1.1, _LEVELS.shape)
    image = np.zeros((n_slices, size, size, 3))
    for place in range(n_slices):
        vessels = gaussian_filter(rng.normal(size=(size, size)), 1.0)
        texture = gaussian_filter(rng.normal(size=(size, size)), 2.0)
        for channel in range(3):
            skull, tissue, fluid = levels[channel]
            values = np.where(radius < 0.38, skull, 0.0)
            values = np.where(radius < 0.34, tissue + 0.8 * tissue * texture, values)
            values = np.where(np.hypot(rows, columns) < rng.uniform(0.09, 0.11), fluid, values)
            if channel == 2:
                values += np.where((radius < 0.34) & (vessels > 0.5), 400, 0)
            image[place, :, :, channel] = gaussian_filter(values, 0.6)
    noise = np.abs(rng.normal(scale=4, size=image.shape))
    return np.clip(image + noise, 0, None).astype(np.int16)


def write_heads(root: Path, n_patients: int) -> None:
    """A data set of such heads in kaggle_3m layout, three slices of 40x40 a patient."""
    for seed in range(n_patients):
        folder = root / f"TCGA_CS_{seed:04d}_19990101"
        folder.mkdir(parents=True)
        image_SHWC = (head(seed, n_slices=3, size=40) / 8).clip(0, 255).astype(np.uint8)
        for number, image_HWC in enumerate(image_SHWC, start=1):
            Image.fromarray(image_HWC).save(folder / f"s_{number}.tif")
            Image.fromarray(np.eye(40, dtype=np.uint8) * 255).save(folder / f"s_{number}_mask.tif")
