"""The edge has ONNX Runtime, numpy, nibabel and pillow, and nothing that training needs."""

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

from tests.exported import small_volume

ABSENT = (
    "torch",
    "torchvision",
    "monai",
    "pydantic",
    "scipy",
    "pandas",
    "yaml",
    "onnx",
    "onnxscript",
    "safetensors",
    "sklearn",
    "skimage",
    "matplotlib",
    "albumentations",
    "cv2",
    "pydicom",
    "highdicom",
    "segmentation_models_pytorch",
)

PROGRAM = """
import json, sys
from pathlib import Path

absent, model, out, inputs = json.loads(sys.argv[1])

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in absent:
            raise ModuleNotFoundError(f"{name} is not installed on the edge")

sys.meta_path.insert(0, Blocked())
from wcr_med.runtime import infer

report = infer(Path(model), [Path(name) for name in inputs], Path(out), threads=1, probabilities=True)
loaded = sorted({name.split(".")[0] for name in sys.modules} & set(absent))
print(json.dumps({
    "failures": [failure.message for failure in report.failures],
    "files": {volume.name: len(volume.mask_files) for volume in report.volumes},
    "loaded": loaded,
}))
"""


def test_segments_every_format_without_the_packages_of_training(
    model_file: Path, tmp_path: Path, phantom_root: Path
) -> None:
    patient = sorted(path for path in phantom_root.iterdir() if path.is_dir())[0]
    volume = small_volume(n_slices=3)
    (tmp_path / "slices").mkdir()
    pictures = []
    for name, image_HWC in zip(volume.names, volume.image_SHWC, strict=True):
        pictures.append(tmp_path / "slices" / f"{name}.png")
        Image.fromarray(image_HWC).save(pictures[-1])
    scan = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(np.moveaxis(volume.image_SHWC, 0, 2), np.eye(4)), scan)

    inputs = [str(path) for path in (patient, *pictures, scan)]
    arguments = json.dumps([ABSENT, str(model_file), str(tmp_path / "out"), inputs])
    done = subprocess.run([sys.executable, "-c", PROGRAM, arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    n_images = sum("mask" not in path.name for path in patient.glob("*.tif"))
    assert answer == {"failures": [], "files": {patient.name: n_images, "slices": 3, "scan": 1}, "loaded": []}


def test_slices_need_no_nifti_reader() -> None:
    program = "import sys, wcr_med.runtime; assert 'nibabel' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
