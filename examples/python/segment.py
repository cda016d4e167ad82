"""Segment one patient with ONNX Runtime, numpy and Pillow alone.

    pip install onnxruntime numpy pillow            # for NIfTI also: nibabel
    python segment.py MODEL.standalone.onnx PATIENT OUT

MODEL is written by `wcr-med export --standalone`; it holds preprocessing and threshold. PATIENT is a folder with the
8-bit RGB slices of one patient, PNG or TIFF, named with their numbers; or an unsigned 8-bit NIfTI file with the
channels on its last axis (see nifti.py). All slices go in at once, since intensities are measured over the whole
volume. Masks are written into the folder OUT: of slices 0 and 255, one a slice; of NIfTI 0 and 1, in its own grid.

For research use only. Not a medical device.
"""

import hashlib
import re
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

PARTS = re.compile(r"(\d+)")  # of a file's name: its numbers, and what stands between


def main(model, patient, out):
    content = Path(model).read_bytes()  # its last 84 bytes: the name of a checksum, and the SHA-256 of those before
    if b"wcr_med.sha256" in content[-84:] and hashlib.sha256(content[:-84]).hexdigest().encode() != content[-64:]:
        sys.exit(f"{model}: not as its checksum says: damaged, or rewritten by another program; copy it again")
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.set_denormal_as_zero", "1")  # faster where weights were pruned
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    mask = segment_slices(session, patient, out) if patient.is_dir() else segment_nifti(session, patient, out)
    print(f"{mask.any(axis=(1, 2)).sum()} of {len(mask)} slices with lesion, {mask.sum()} voxels; see {out}")


def segment(session, image):
    """uint8 (slices, rows, columns, channels) to a mask of 0 and 1, uint8 (slices, rows, columns)."""
    (mask,) = session.run(["mask"], {"image": image})
    return mask


def segment_slices(session, folder, out):
    paths = slice_files(folder)
    mask = segment(session, np.stack([read_slice(path) for path in paths]))
    out.mkdir(parents=True, exist_ok=True)
    for path, mask_of_slice in zip(paths, mask, strict=True):
        Image.fromarray(mask_of_slice * 255).save(out / f"{path.stem}_mask{path.suffix}")
    return mask


def segment_nifti(session, path, out):
    import nifti  # here, so that slices need no nibabel

    if not nifti.is_nifti(path):
        sys.exit(f"{path}: neither a folder of slices nor a file .nii or .nii.gz")
    image, header = nifti.read(path, n_channels=session.get_inputs()[0].shape[3])
    mask = segment(session, image)
    out.mkdir(parents=True, exist_ok=True)
    nifti.write(out / f"{path.name[: path.name.rindex('.nii')]}_mask.nii.gz", mask, header)
    return mask


def slice_files(folder):
    """Images of a folder in the order of their numbers (2 before 10), without reference masks."""
    found = [path for path in folder.iterdir() if path.suffix.lower() in (".png", ".tif", ".tiff")]
    images = [path for path in found if not path.stem.endswith("_mask")]
    if not images:
        sys.exit(f"{folder}: no PNG or TIFF slices")
    return sorted(images, key=lambda path: [int(part) if part.isdecimal() else part for part in PARTS.split(path.name)])


def read_slice(path):
    with Image.open(path) as image:
        # Pillow would quietly cut 16 bits down to 8: other intensities than the network knows.
        bits = set(image.tag_v2[258]) if image.format == "TIFF" else {path.read_bytes()[24]}
        if image.mode != "RGB" or bits != {8}:
            sys.exit(f"{path}: not an 8-bit RGB image")
        if image.format == "PNG":
            image.load()  # what says how to turn it may stand after the pixels
        if image.getexif().get(274, 1) in range(2, 9):
            sys.exit(f"{path}: to be turned before it is shown (orientation tag); save it upright")
        return np.asarray(image)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
