"""Image files to volumes and masks back to image files: kaggle_3m folders, PNG and TIFF slices, NIfTI.

The readers live in `kaggle`, `images` and `nifti`. Each is imported by name, so that reading TIFFs does not load
nibabel.
"""

from wcr_med.volumes.volume import Array, FileError, NiftiGeometry, Volume

__all__ = ["Array", "FileError", "NiftiGeometry", "Volume"]
