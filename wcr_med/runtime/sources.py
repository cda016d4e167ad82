"""What the user points at -> the volumes to segment, before any of them is opened."""

import importlib.util
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from wcr_med.errors import UserError
from wcr_med.volumes import Volume
from wcr_med.volumes.names import is_dicom, is_image, is_nifti

DEFAULT_CHANNEL_FILES = ("*_t1.nii.gz", "*_flair.nii.gz", "*_t1ce.nii.gz")
"""File patterns of a patient's sequences in the network's order, where the model file names none."""

_SLICE_NAME = re.compile(r".+_\d+(_mask)?\.tiff?", re.IGNORECASE)  # the kaggle_3m layout


@dataclass(frozen=True, kw_only=True)
class Source:
    """One volume to segment.

    Attributes:
        name: of its results; the folder's name, or the file's without suffix.
        kind: how it is read.
        folder: where its files lie.
        files: for "images" the slices in order, for "nifti" a file for each channel or one 4D file, for "dicom" the
            images of one study; empty for "kaggle_3m", whose reader lists the folder itself.
    """

    name: str
    kind: Literal["kaggle_3m", "images", "nifti", "dicom"]
    folder: Path
    files: tuple[Path, ...]

    def read(self) -> Volume:
        """Read the images, no masks.

        Raises:
            UserError: a file cannot be used; the message names it. Or the extra for DICOM is not installed.
        """
        # Imported here, so that slices are segmented without loading nibabel.
        if self.kind == "kaggle_3m":
            from wcr_med.volumes.kaggle import read_kaggle_patient

            return read_kaggle_patient(self.folder, with_mask=False)
        if self.kind == "images":
            from wcr_med.volumes.images import read_images

            return read_images(self.files)
        if self.kind == "dicom":
            _require_dicom(self.folder)
            from wcr_med.volumes.dicom import read_dicom

            return read_dicom(self.files, patient_id=self.name)
        from wcr_med.volumes.nifti import read_nifti

        return read_nifti(self.files, None, patient_id=self.name)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An input that could not be segmented.

    Attributes:
        name: of the volume, or the path given.
        message: one line: what is wrong and how to mend it.
    """

    name: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Found:
    """The volumes in the order given, and the inputs that are none."""

    sources: tuple[Source, ...]
    failures: tuple[Failure, ...]


def find_sources(inputs: Sequence[Path], *, channel_files: Sequence[str] = DEFAULT_CHANNEL_FILES) -> Found:
    """Tell by names what each input is.

    - A folder with `<name>_<number>.tif` files is a kaggle_3m patient; masks in it are ignored.
    - A folder with other PNG or TIFF files is one volume, its slices in natural order (2 before 10); `*_mask.*` are
      ignored.
    - A folder with NIfTI files is one volume if each pattern matches one file; if none matches any, each file is a
      volume. Where there is but one pattern, each file that it matches is a volume.
    - A folder with DICOM files (`*.dcm`) is one volume: one study, its series the channels; `*.seg.dcm` are ignored.
    - Any other folder is searched one level deeper.
    - PNG and TIFF files given by name form one volume for each folder they lie in, in the order given.
    - A NIfTI file given by name is a volume.

    Args:
        inputs: paths.
        channel_files: file patterns of the sequences of a NIfTI patient, in the network's order.
    """
    sources: list[Source] = []
    failures: list[Failure] = []
    for group in _grouped(inputs):
        try:
            sources.extend(_sources_of(group, channel_files))
        except UserError as error:
            failures.append(Failure(name=group[0].name, message=str(error)))
    unique: dict[str, Source] = {}
    for source in sources:
        if source.name in unique and unique[source.name] != source:
            other = unique[source.name].folder
            message = f"{source.folder}: a volume named {source.name} also comes from {other}; give one of them alone"
            failures.append(Failure(name=source.name, message=message))
        unique.setdefault(source.name, source)
    return Found(sources=tuple(unique.values()), failures=tuple(failures))


def _grouped(inputs: Iterable[Path]) -> list[list[Path]]:
    """One group an input, except that image files of one folder come together, where the first of them stood."""
    groups: dict[Path, list[Path]] = {}
    for path in inputs:
        is_slice = is_image(path) and not path.is_dir()
        groups.setdefault(path.parent if is_slice else path / "", []).append(path)
    return list(groups.values())


def _sources_of(group: list[Path], channel_files: Sequence[str]) -> list[Source]:
    for path in group:
        if not path.exists():
            raise UserError(f"{path}: no such file or folder; give images to segment")
    first = group[0]
    if first.is_dir():
        found = _in_folder(first, channel_files)
        if not found:
            for folder in sorted(entry for entry in first.iterdir() if entry.is_dir() and not _hidden(entry)):
                found.extend(_in_folder(folder, channel_files))
        if not found:
            raise UserError(
                f"{first}: holds no TIFF, PNG, NIfTI or DICOM (.dcm) images; give a patient's folder, or a folder of"
                " such"
            )
        return found
    if is_image(first):
        name = first.stem if len(group) == 1 else first.absolute().parent.name
        return [Source(name=name, kind="images", folder=first.parent, files=tuple(group))]
    if is_nifti(first):
        return [_nifti_file(first)]
    if is_dicom(first):
        raise UserError(f"{first}: a single DICOM file; give the folder of the whole series")
    raise UserError(
        f"{first}: not an image this program reads; give TIFF, PNG or NIfTI (.nii, .nii.gz),"
        " or a folder of DICOM images (.dcm)"
    )


def _in_folder(folder: Path, channel_files: Sequence[str]) -> list[Source]:
    files = sorted((path for path in folder.iterdir() if path.is_file() and not _hidden(path)), key=_natural)
    name = folder.absolute().name
    nifti = [path for path in files if is_nifti(path)]
    if nifti:
        return _nifti_sources(name, folder, nifti, channel_files)
    if dicom := tuple(path for path in files if is_dicom(path)):
        return [Source(name=name, kind="dicom", folder=folder, files=dicom)]
    images = [path for path in files if is_image(path)]
    if any(_SLICE_NAME.fullmatch(path.name) for path in images):
        return [Source(name=name, kind="kaggle_3m", folder=folder, files=())]
    slices = tuple(path for path in images if not path.stem.lower().endswith("_mask"))
    return [Source(name=name, kind="images", folder=folder, files=slices)] if slices else []


def _nifti_sources(name: str, folder: Path, files: list[Path], channel_files: Sequence[str]) -> list[Source]:
    matches = [[path for path in files if fnmatchcase(path.name, pattern)] for pattern in channel_files]
    if not any(matches):
        return [_nifti_file(path) for path in files]
    if len(matches) == 1 and len(matches[0]) > 1:  # each holds all channels, so each is a volume
        return [_nifti_file(path) for path in matches[0]]
    for pattern, matching in zip(channel_files, matches, strict=True):
        if len(matching) != 1:
            raise UserError(f"{folder}: {len(matching)} files match {pattern}, one is needed; rename or remove files")
    return [Source(name=name, kind="nifti", folder=folder, files=tuple(matching[0] for matching in matches))]


def _nifti_file(path: Path) -> Source:
    name = path.name.removesuffix(".gz").removesuffix(".nii")
    return Source(name=name, kind="nifti", folder=path.parent, files=(path,))


def _require_dicom(folder: Path) -> None:
    """Say before anything is computed that results could not be read or written."""
    if not all(importlib.util.find_spec(name) for name in ("pydicom", "highdicom")):
        raise UserError(f"{folder}: DICOM images need two more packages; pip install 'wcr-med[dicom]'")


def _hidden(path: Path) -> bool:
    return path.name.startswith(".")


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]
