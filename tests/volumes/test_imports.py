"""What reading volumes costs in packages: an edge device has no torch."""

import subprocess
import sys

HEAVY = ("torch", "monai", "pydantic", "pandas", "scipy", "yaml", "sklearn", "skimage", "matplotlib")


def test_reading_volumes_needs_no_heavy_package() -> None:
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({HEAVY}));"  # None: importing it fails
        "import wcr_med.volumes.images, wcr_med.volumes.kaggle; assert 'nibabel' not in sys.modules;"
        "import wcr_med.volumes.nifti"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
