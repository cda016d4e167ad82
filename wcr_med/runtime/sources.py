"""One volume to segment, and what it is read from."""

import importlib.util
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from wcr_med.errors import UserError
from wcr_med.volumes import FileError, Volume
from wcr_med.volumes.choice import Channels, choose_channels, in_order


@dataclass(frozen=True, kw_only=True)
class Source:
    """One volume to segment.

    Attributes:
        name: of its results, with forward slashes where it lies deeper in a tree; unique among the sources of a call.
        kind: how it is read.
        folder: where its files lie.
        files: for "images" the slices in order, for "nifti" a file for each channel or one 4D file, for "dicom" the
            images of one study; empty for "kaggle_3m", whose reader lists the folder itself.
        channels: what the network takes, and what the user said of it; `None`: channels stay as the files hold them.
        left_out: files beside these that were not taken, for a reader.
        doubt: what the names speak against, for a reader; "" where they do not.
    """

    name: str
    kind: Literal["kaggle_3m", "images", "nifti", "dicom"]
    folder: Path
    files: tuple[Path, ...]
    channels: Channels | None = field(default=None, compare=False)
    left_out: tuple[str, ...] = field(default=(), compare=False)
    doubt: str = field(default="", compare=False)

    def read(self, *, scratch: Path | None = None) -> Volume:
        """Read the images, no masks.

        Args:
            scratch: folder for the voxels of a large volume, which then takes no memory; DICOM is held in memory.

        Raises:
            UserError: a file cannot be used; the message names it. Or the extra for DICOM is not installed.
        """
        if self.kind == "dicom":
            _require_dicom(self.folder)
            # Imported here, so that other formats are segmented without loading its library.
            from wcr_med.volumes.dicom import read_dicom

            return read_dicom(self.files, patient_id=self.name, channels=self.channels or choose_channels(None, 1))
        volume = self._read_arrays(scratch)
        if self.channels is not None:
            volume = in_order(volume, self.channels, self.place, one_file=len(self.files) <= 1 or self.kind == "images")
        if not volume.origins and self.kind == "nifti" and len(self.files) > 1:
            volume = replace(volume, origins=tuple(path.name for path in self.files))
        return replace(volume, left_out=(*volume.left_out, *self.left_out))

    def _read_arrays(self, scratch: Path | None) -> Volume:
        # Imported here, so that slices are segmented without loading nibabel.
        if self.kind == "kaggle_3m":
            from wcr_med.volumes.kaggle import read_kaggle_patient

            return read_kaggle_patient(self.folder, with_mask=False, scratch=scratch)
        if self.kind == "images":
            from wcr_med.volumes.images import read_images

            return read_images(self.files, scratch=scratch)
        from wcr_med.volumes.nifti import read_nifti

        return read_nifti(self.files, None, patient_id=self.name, scratch=scratch)

    def state(self) -> list[list[str | int]] | None:
        """Path, bytes and both times of change of every file read, to tell whether one changed; `None`: one is missing.

        Whoever replaces a file may keep the first time, and not the second.
        """
        try:
            files = self.files or tuple(sorted(self.folder.iterdir()))
            states = [(path, path.stat()) for path in files]
            return [[str(path.absolute()), one.st_size, one.st_mtime_ns, one.st_ctime_ns] for path, one in states]
        except OSError:
            return None

    @property
    def place(self) -> Path:
        """What to show for it: the file where there is one alone, else the folder."""
        return self.files[0] if len(self.files) == 1 else self.folder

    def failure(self, problem: UserError | str) -> "Failure":
        """The failure of this volume; its message names the file at fault, or else `place`."""
        message = str(problem)
        if not isinstance(problem, FileError) and not message.startswith(f"{self.place}: "):
            message = str(UserError(f"{self.place}: {message}"))
        return Failure(name=self.name, message=message)


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


def _require_dicom(folder: Path) -> None:
    """Say before anything is computed that results could not be read or written."""
    if not all(importlib.util.find_spec(name) for name in ("pydicom", "highdicom")):
        raise UserError(f"{folder}: DICOM images need two more packages; pip install 'wcr-med[dicom]'")
