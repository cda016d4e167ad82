#!/bin/sh
# Pillow turns a TIFF by its Orientation tag when the pixels are loaded, and drops the tag; a PNG with the same EXIF tag
# it leaves as it is. tifffile returns the stored pixels of the same TIFF. So one picture saved in two formats, or read by
# two libraries, gives arrays of different orientation: a mask computed on one lies wrong on the other, and where rows and
# columns are as many nothing fails.
#
# Versions: Pillow 13.0.0, tifffile 2026.3.3, numpy 2.4.6. Input: 2x3 RGB pixels with Orientation 3 (turned by 180 degrees) and 6.
#
# Seen:
#   orientation 3: Pillow TIFF turned, tag left: None; Pillow PNG stored, tag left: 3; tifffile TIFF stored
#   orientation 6: Pillow TIFF turned, tag left: None; Pillow PNG stored, tag left: 6; tifffile TIFF stored
#
# Exits with 1 where that changes.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0 tifffile==2026.3.3 numpy==2.4.6
cd "$place"
venv/bin/python - <<'PYTHON'
import sys

import numpy as np
import tifffile
from PIL import Image

stored = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
turned = {3: np.rot90(stored, 2), 6: np.rot90(stored, -1)}
as_expected = True
for orientation in (3, 6):
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(stored).save("a.png", exif=exif)
    tifffile.imwrite("a.tif", stored, photometric="rgb", extratags=[(274, "H", 1, orientation, True)])
    said = []
    for name in ("a.tif", "a.png"):
        with Image.open(name) as image:
            pixels = np.asarray(image)
            kind = "stored" if np.array_equal(pixels, stored) else "turned" if np.array_equal(pixels, turned[orientation]) else "?"
            said.append((kind, image.getexif().get(274)))
    raw = "stored" if np.array_equal(tifffile.imread("a.tif"), stored) else "?"
    (tiff, tiff_tag), (png, png_tag) = said
    print(f"orientation {orientation}: Pillow TIFF {tiff}, tag left: {tiff_tag}; Pillow PNG {png}, tag left: {png_tag}; tifffile TIFF {raw}")
    as_expected &= (tiff, tiff_tag, png, png_tag, raw) == ("turned", None, "stored", orientation, "stored")
sys.exit(0 if as_expected else 1)
PYTHON
