"""Which patients a data set holds, and how to read one of them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from wcr_med.channel_names import KAGGLE_CHANNELS, numbered
from wcr_med.config import DataConfig, NiftiConfig
from wcr_med.errors import UserError
from wcr_med.volumes import FileError, Volume
from wcr_med.volumes.kaggle import list_slices, patient_and_institution, read_kaggle_patient, scan_folder
from wcr_med.volumes.labels import LabelValues
from wcr_med.volumes.names import is_unicode

_LONGEST_NAME = 200  # bytes of a patient's name: file systems allow 255, and results add to it


@dataclass(frozen=True)
class PatientEntry:
    """One patient of a data set: names and files, no pixels.

    Attributes:
        patient_id: unique within the data set.
        institution: two letters from a TCGA name, "unknown" for any other name.
        files: every file that is read for the patient, sorted by path.
        format: the layout.
        folder: the patient's folder.
        channels: NIfTI alone: the channel files in the network's order.
        label: NIfTI alone: the label file, `None` where there is none.
        spacing_mm: kaggle_3m alone: declared millimetres between slices, rows and columns; `None` if not declared.
        sequences: names of the channels that the configuration gives; of another number than the channels for a 4D
            file that it does not name (`channel_names` of the images' number is always right).
        labels: NIfTI alone: what the values of the label file mean.
    """

    patient_id: str
    institution: str
    files: tuple[Path, ...]
    format: Literal["kaggle_3m", "nifti"]
    folder: Path
    channels: tuple[Path, ...] = ()
    label: Path | None = None
    spacing_mm: tuple[float, float, float] | None = None
    sequences: tuple[str, ...] = KAGGLE_CHANNELS
    labels: LabelValues = field(default_factory=LabelValues)

    def channel_names(self, n_channels: int) -> tuple[str, ...]:
        """Names of the image's channels, in their order; "channel 1" and so on where they have none."""
        return numbered(self.sequences, n_channels)


def index_patients(config: DataConfig) -> tuple[PatientEntry, ...]:
    """List the patients under `config.root`, sorted by patient id. No image is opened.

    Args:
        config: where and in which layout.

    Raises:
        UserError: the folder is missing or holds no patient's folder, a patient stands twice, or a folder does not
            fit the layout. The message names the folder or file and the remedy.
    """
    entries: dict[str, PatientEntry] = {}
    folders = patient_folders(config)
    for path in broken_links(config.root):
        raise broken_link(path)
    for folder in folders:
        entry = index_folder(folder, config)
        if entry.patient_id in entries:
            raise patient_twice(entry.patient_id, entries[entry.patient_id].folder, folder)
        entries[entry.patient_id] = entry
    return tuple(entries[patient_id] for patient_id in sorted(entries))


def load_volume(entry: PatientEntry, *, with_mask: bool = True) -> Volume:
    """Read all images of a patient, and the mask if wanted.

    Raises:
        UserError: a file cannot be used (see `wcr_med.volumes`), or the mask is wanted and there is none.
    """
    if entry.format == "kaggle_3m":
        return read_kaggle_patient(entry.folder, with_mask=with_mask, spacing_mm=entry.spacing_mm)
    # Here, because reading TIFFs should not wait for nibabel.
    from wcr_med.volumes.nifti import read_nifti

    if with_mask and entry.label is None:
        raise missing_label(entry.folder)
    label = entry.label if with_mask else None
    return read_nifti(entry.channels, label, patient_id=entry.patient_id, labels=entry.labels)


def patient_folders(config: DataConfig) -> tuple[Path, ...]:
    """The visible sub-folders of `config.root`, sorted by name.

    Raises:
        UserError: the folder is missing, is a file, cannot be listed or has no sub-folder; or it looks like the folder
            above the data set.
    """
    root = config.root
    advice = "set data.root to the folder that holds one folder a patient"
    try:
        if not root.exists():
            raise UserError(f"{root}: no such folder; {advice}")
        if not root.is_dir():
            raise UserError(f"{root}: a file, not a folder; {advice}")
        folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise UserError(f"{root}: cannot be listed ({error.strerror}); check its permissions") from error
    if config.format == "kaggle_3m" and (root / "kaggle_3m").is_dir():
        raise UserError(f"{root}: holds the folder kaggle_3m; set data.root to {root / 'kaggle_3m'}")
    if config.format == "kaggle_3m" and scan_folder(root).slices:
        raise UserError(f"{root}: holds slices itself; set data.root to the folder above, which holds all patients")
    if not folders:
        raise UserError(f"{root}: holds no patient folders; {advice}")
    return tuple(folders)


def broken_links(root: Path) -> tuple[Path, ...]:
    """Visible links in a folder that point to nothing, sorted by name: a patient, or a file of one, that is not there.

    Raises:
        OSError: the folder cannot be listed.
    """
    return tuple(
        sorted(
            path for path in root.iterdir() if path.is_symlink() and not path.exists() and not path.name.startswith(".")
        )
    )


def broken_link(path: Path) -> FileError:
    """The fault of a link that points to nothing."""
    return FileError(path, "missing-file", "a link to nothing; restore what it points to, or remove it")


def index_folder(folder: Path, config: DataConfig) -> PatientEntry:
    """The entry of one patient's folder.

    Raises:
        UserError: the folder does not fit the layout of `config.format`.
    """
    patient_id, institution = patient_and_institution(folder.name)
    check_patient_name(folder, patient_id)
    if config.format == "kaggle_3m":
        pairs = list_slices(folder)
        files = [path for pair in pairs for path in pair if path is not None]
        return PatientEntry(
            patient_id,
            institution,
            tuple(sorted(files)),
            "kaggle_3m",
            folder,
            spacing_mm=config.spacing_mm,
            sequences=config.sequences,
        )
    channels = tuple(_only_match(folder, pattern, "data.nifti.channels") for pattern in config.nifti.patterns)
    label = _label(folder, config.nifti)
    files = [*channels, *([] if label is None else [label])]
    if len(set(files)) < len(files):
        problem = "two patterns match one file; make data.nifti.channels and data.nifti.label distinct"
        raise FileError(folder, "ambiguous", problem)
    return PatientEntry(
        patient_id,
        institution,
        tuple(sorted(files)),
        "nifti",
        folder,
        channels,
        label,
        sequences=config.sequences,
        labels=config.nifti.labels,
    )


def patient_twice(patient_id: str, first: Path, second: Path) -> FileError:
    """The fault of a patient that stands in two folders."""
    problem = f"patient {patient_id} is also in {first.name}; keep one scan of each patient"
    return FileError(second, "patient-twice", f"{problem}, or rename a folder if they are two people")


def check_patient_name(folder: Path, patient_id: str) -> None:
    """Refuse a patient whose name tables, or files named after it, could not hold.

    Raises:
        FileError: the name is not UTF-8, or too long.
    """
    if not is_unicode(patient_id):
        raise FileError(folder, "bad-name", "its name is not valid UTF-8, which tables and reports need; rename it")
    if len(patient_id.encode()) > _LONGEST_NAME:
        problem = f"its name has {len(patient_id.encode())} bytes, and masks are named after it"
        raise FileError(folder, "bad-name", f"{problem}; shorten it to {_LONGEST_NAME} or less")


def missing_label(folder: Path) -> FileError:
    """The fault of a NIfTI patient without a label file."""
    problem = "no label file; add it, or set data.nifti.label to the pattern of its name"
    return FileError(folder, "missing-mask", problem)


def _label(folder: Path, config: NiftiConfig) -> Path | None:
    if not _matches(folder, config.label, "data.nifti.label"):
        return None
    return _only_match(folder, config.label, "data.nifti.label")


def _only_match(folder: Path, pattern: str, field: str) -> Path:
    found = _matches(folder, pattern, field)
    if not found:
        problem = f"no file matches {pattern}; add it, or set {field} to the pattern of its name"
        raise FileError(folder, "missing-file", problem)
    if len(found) > 1:
        problem = f"{found[0].name} and {found[1].name} both match {pattern}; narrow {field} to one of them"
        raise FileError(folder, "ambiguous", problem)
    return found[0]


def _matches(folder: Path, pattern: str, field: str) -> list[Path]:
    try:
        found = sorted(folder.glob(pattern))
    except (ValueError, NotImplementedError) as error:
        raise UserError(f"{field}: {pattern!r} is not a file pattern ({error}); write it like *_flair.nii.gz") from None
    return [path for path in found if path.is_file() and not path.name.startswith(".")]
