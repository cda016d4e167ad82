"""A check of a whole data set before anything is trained on it: every fault at once, none fatal."""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from wcr_med.channel_names import numbered
from wcr_med.config import DataConfig
from wcr_med.data.audit_report import AuditReport, Finding, PatientCounts, Severity
from wcr_med.data.clinical import ClinicalTable, read_clinical_table
from wcr_med.data.index import (
    broken_link,
    broken_links,
    check_patient_name,
    index_folder,
    load_volume,
    missing_label,
    patient_folders,
    patient_twice,
)
from wcr_med.data.mask_audit import implausible, mask_values
from wcr_med.data.sequences import ChannelContent
from wcr_med.errors import UserError
from wcr_med.plausibility import VoxelCounts, voxel_doubts
from wcr_med.progress import track
from wcr_med.volumes import Array, FileError
from wcr_med.volumes.images import check_same_size, lesion_of, read_grey_mask, read_rgb
from wcr_med.volumes.kaggle import SlicePair, missing_mask, patient_and_institution, scan_folder
from wcr_med.volumes.labels import LabelValues, Meaning
from wcr_med.volumes.names import is_left_out

__all__ = ["AuditReport", "Finding", "PatientCounts", "audit"]

_LOG = logging.getLogger(__name__)
_SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


def audit(config: DataConfig, *, progress: bool, in_channels: int | None = None) -> AuditReport:
    """Read every file of a data set once and report whatever is wrong with it.

    Found are files that cannot be read or are of another kind, missing images and masks, sizes that differ within a
    patient, masks with other values, a patient in two folders, slices that two patients share (compared by content;
    slices of one constant value do not count), sequences that are copies of another or empty, patients without tumour,
    masks that fill the head or lie outside it, gaps in the slice numbers, another number of channels than the network
    takes, and what data.csv does not tell.

    Args:
        config: where the data set lies.
        progress: show progress.
        in_channels: of the network that shall be trained; `None`: not known.

    Raises:
        UserError: the root is missing or holds no patient folders. Faults further inside are findings.
    """
    patients: list[PatientCounts] = []
    values: list[Mapping[int, Meaning]] = []
    findings: list[Finding] = []
    seen = _SeenSlices()
    folder_of: dict[str, Path] = {}
    folders = patient_folders(config)
    for folder in track(folders, label="audit", unit="patient", total=len(folders), log=_LOG, enabled=progress):
        patient = _PatientAudit(config, folder, seen)
        first = folder_of.setdefault(patient.patient_id, folder)
        if first != folder:
            patient.fault(patient_twice(patient.patient_id, first, folder))
        patient.read()
        patients.append(patient.counts())
        values.append(patient.values)
        findings += patient.findings
    findings += _wrong_channels(patients, in_channels)
    for path in broken_links(config.root):
        fault = broken_link(path)
        findings.append(
            Finding(severity="error", patient_id=path.name, file=path.name, code=fault.code, message=fault.problem)
        )
    clinical, found = _clinical(config.root / "data.csv", [patient.patient_id for patient in patients])
    findings += found
    findings.sort(key=lambda finding: (_SEVERITIES.index(finding.severity), finding.file))
    return AuditReport(
        patients=tuple(patients), findings=tuple(findings), mask_values=mask_values(values), clinical=clinical
    )


def _wrong_channels(patients: Sequence[PatientCounts], in_channels: int | None) -> list[Finding]:
    """One error for each number of channels that is not the network's."""
    groups: dict[int, list[PatientCounts]] = {}
    for patient in patients:
        if in_channels is not None and patient.channels not in (0, in_channels):
            groups.setdefault(patient.channels, []).append(patient)
    return [
        Finding(
            severity="error",
            patient_id=group[0].patient_id,
            file=group[0].folder,
            code="wrong-channels",
            message=f"{n_channels} channels{_and_others(len(group) - 1)}, but model.in_channels is {in_channels}; set"
            f" model.in_channels to {n_channels}, or give all patients the same channels",
        )
        for n_channels, group in groups.items()
    ]


def _and_others(count: int) -> str:
    return f" (and {count} more patients)" if count else ""


def _clinical(path: Path, patient_ids: Sequence[str]) -> tuple[ClinicalTable | None, list[Finding]]:
    """What data.csv holds, and what it lacks."""

    def finding(severity: Severity, code: str, message: str) -> Finding:
        return Finding(severity=severity, patient_id="", file=path.name, code=code, message=message)

    try:
        table = read_clinical_table(path, patient_ids)
    except UserError as error:
        return None, [finding("error", "bad-table", str(error).removeprefix(f"{path}: "))]
    if table is None:
        if not path.is_file() or path.read_bytes().strip().count(b"\n") == 0:
            return None, []
        message = "no column holds a patient id, so no clinical attributes are known; use the folders' names as ids"
        return None, [finding("warning", "no-clinical-line", message)]
    findings = [finding("note", "left-out", f"{part} left out") for part in table.left_out]
    if lacking := sorted(set(patient_ids) - set(table.codes)):
        message = f"no line for {lacking[0]}{_and_others(len(lacking) - 1)}; add it, or nothing is known of them"
        findings.append(finding("warning", "no-clinical-line", message))
    return table, findings


class _SeenSlices:
    """Every slice so far by its content."""

    def __init__(self) -> None:
        self._first: dict[bytes, tuple[Path, str]] = {}

    def earlier(self, image_HWC: Array, folder: Path, name: str) -> tuple[Path, str] | None:
        """Folder and name of an earlier slice with this content; `None` for a new one and for one of constant value."""
        if image_HWC.min() == image_HWC.max():
            return None
        digest = hashlib.blake2b(repr((image_HWC.shape, image_HWC.dtype.str)).encode(), digest_size=16)
        digest.update(np.ascontiguousarray(image_HWC).data)
        found = self._first.setdefault(digest.digest(), (folder, name))
        return None if found == (folder, name) else found


class _PatientAudit:
    """Reads one patient's folder slice by slice and gathers counts and findings."""

    def __init__(self, config: DataConfig, folder: Path, seen: _SeenSlices) -> None:
        self.patient_id, self.institution = patient_and_institution(folder.name)
        self.findings: list[Finding] = []
        self.values: dict[int, Meaning] = {}  # of the masks
        self._masked: list[tuple[Array, Array]] = []  # images and masks of slices
        self._config, self._folder, self._seen = config, folder, seen
        self._shape = (0, 0, 0)
        self._n_slices = self._n_masks = self._n_tumour_slices = self._n_tumour_voxels = 0
        self._channels = ChannelContent()
        self._voxels: VoxelCounts | None = None
        self._shared: dict[Path, list[tuple[str, str]]] = {}  # folder -> (slice there, slice here) of one content

    def read(self) -> None:
        """Read every file once."""
        try:
            check_patient_name(self._folder, self.patient_id)
        except FileError as error:
            self.fault(error)
        slices = self._kaggle_slices() if self._config.format == "kaggle_3m" else self._nifti_slices()
        for name, image_HWC, mask_HW in slices:
            self._count(image_HWC, mask_HW)
            self._channels.see(image_HWC)
            self._voxels = self._voxels or VoxelCounts(image_HWC.shape[-1])
            self._voxels.add(image_HWC[None])
            if earlier := self._seen.earlier(image_HWC, self._folder, name):
                self._shared.setdefault(earlier[0], []).append((earlier[1], name))
        if self._n_masks == self._n_slices > 0 and self._n_tumour_slices == 0:
            self._find("warning", self._folder, "no-tumour", "no slice holds tumour; make sure that this is meant")
        if self._n_tumour_slices:
            images, masks = zip(*self._masked, strict=True)
            for code, message in implausible(np.stack(images), np.stack(masks)):
                self._find("warning", self._folder, code, message)
        self._masked.clear()
        self._report_sequences()
        self._report_intensities()
        self._report_shared()

    def counts(self) -> PatientCounts:
        """The patient's row, after `read`."""
        rows, columns, channels = self._shape
        return PatientCounts(
            patient_id=self.patient_id,
            institution=self.institution,
            folder=self._below_root(self._folder),
            n_slices=self._n_slices,
            n_tumour_slices=self._n_tumour_slices,
            n_tumour_voxels=self._n_tumour_voxels,
            rows=rows,
            columns=columns,
            channels=channels,
        )

    def fault(self, error: FileError) -> None:
        """Add what a reader refused."""
        self._find("error", error.path, error.code, error.problem)

    def _kaggle_slices(self) -> Iterator[tuple[str, Array, Array | None]]:
        scan = scan_folder(self._folder)
        for error in scan.faults:
            self.fault(error)
        self._report_gaps(list(scan.slices))
        self._report_left_out()
        first: tuple[Path, Array] | None = None
        for pair in scan.slices.values():
            try:
                image_HWC = read_rgb(pair.image)
                first = first or (pair.image, image_HWC)
                check_same_size(pair.image, image_HWC, *first)
            except FileError as error:
                self.fault(error)
                self._kaggle_mask(pair, None)
                continue
            yield pair.image.stem, image_HWC, self._kaggle_mask(pair, image_HWC)

    def _kaggle_mask(self, pair: SlicePair, image_HWC: Array | None) -> Array | None:
        """The mask of a slice; faults of the mask are findings. Its size is checked against a sound image alone."""
        try:
            if pair.mask is None:
                raise missing_mask(pair.image)
            grey_HW = read_grey_mask(pair.mask)
            meant: dict[int, Meaning] = {0: "background", 255: "lesion"}
            self.values |= {int(value): meant.get(int(value), "refused") for value in np.unique(grey_HW)}
            mask_HW = lesion_of(grey_HW, pair.mask)
            if image_HWC is not None:
                check_same_size(pair.mask, mask_HW, pair.image, image_HWC)
        except FileError as error:
            self.fault(error)
            return None
        return mask_HW

    def _nifti_slices(self) -> Iterator[tuple[str, Array, Array | None]]:
        try:
            entry = index_folder(self._folder, self._config)
        except FileError as error:
            self.fault(error)
            return
        with_mask = entry.label is not None and self._label_is_sound(entry.label, entry.labels)
        if entry.label is None:
            self.fault(missing_label(entry.folder))
        try:
            volume = load_volume(entry, with_mask=with_mask)
        except FileError as error:
            self.fault(error)
            self._check_each_nifti([path for path in entry.files if path != error.path])
            return
        for number, name in enumerate(volume.names):
            yield name, volume.image_SHWC[number], None if volume.mask_SHW is None else volume.mask_SHW[number]

    def _label_is_sound(self, path: Path, labels: LabelValues) -> bool:
        """Note the values of a label map; unnamed ones are a finding."""
        from wcr_med.volumes.nifti import read_label_values

        try:
            found = read_label_values(path)
        except FileError as error:
            if error.code == "mask-values":
                self.fault(error)
            return error.code != "mask-values"  # other faults are those of reading the volume
        self.values = labels.meanings(found)
        try:
            labels.mask_of(np.array(found), path)
        except FileError as error:
            self.fault(error)
            return False
        return True

    def _check_each_nifti(self, paths: list[Path]) -> None:
        """After one file of a patient was refused: whether the others are sound on their own."""
        # Here, because the check of TIFFs should not wait for nibabel.
        from wcr_med.volumes.nifti import read_nifti

        for path in paths:
            try:
                read_nifti([path], None, patient_id=self.patient_id)
            except FileError as error:
                self.fault(error)

    def _count(self, image_HWC: Array, mask_HW: Array | None) -> None:
        rows, columns, channels = image_HWC.shape
        self._shape = (rows, columns, channels)
        self._n_slices += 1
        if mask_HW is not None:
            n_voxels = int(np.count_nonzero(mask_HW))
            self._n_masks += 1
            self._masked.append((image_HWC, mask_HW))
            self._n_tumour_slices += n_voxels > 0
            self._n_tumour_voxels += n_voxels

    def _report_gaps(self, numbers: list[int]) -> None:
        missing = sorted(set(range(1, max(numbers, default=0) + 1)) - set(numbers))
        if missing:
            shown = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
            message = f"slices {shown} are missing below {max(numbers)}; restore them, or volumes and distances are off"
            self._find("warning", self._folder, "slice-gap", message)

    def _report_left_out(self) -> None:
        names = [path.name for path in sorted(self._folder.iterdir()) if is_left_out(path)]
        if names:
            shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            message = f"no TIFF, so left out: {shown}; save slices as TIFF, or move these away"
            self._find("warning", self._folder, "left-out", message)

    def _report_sequences(self) -> None:
        names = numbered(self._config.sequences, self._shape[2])
        for channel in self._channels.empty:
            message = f"{names[channel]} is one constant value: the sequence is missing"
            self._find("note", self._folder, "empty-sequence", message)
        for group in self._channels.copies:
            listed = ", ".join(names[channel] for channel in group)
            message = f"{listed} are identical: a missing sequence was filled with a copy of another"
            self._find("note", self._folder, "copied-sequence", message)

    def _report_intensities(self) -> None:
        """What preprocessing does not expect of voxels; see `wcr_med.plausibility`."""
        voxels = self._voxels
        if voxels is None:
            return
        names = numbered(self._config.sequences, self._shape[2])
        for message in voxel_doubts(names, (voxels.below_zero / voxels.n).tolist(), voxels.shares_at_top().tolist()):
            self._find("warning", self._folder, "not-magnitude", message)

    def _report_shared(self) -> None:
        for folder, pairs in self._shared.items():
            there, here = pairs[0]
            count = "1 slice is" if len(pairs) == 1 else f"{len(pairs)} slices are"
            if folder == self._folder:
                message = f"{count} in it twice ({here} is {there}); restore the right files"
                self._find("warning", self._folder, "same-slice-twice", message)
            else:
                message = (
                    f"{count} also in {folder.name} ({here} is {there}), so a split by patients would leak; "
                    "restore the right files, or keep one of the two patients"
                )
                self._find("error", self._folder, "same-slice-in-two-patients", message)

    def _find(self, severity: Severity, path: Path, code: str, message: str) -> None:
        file = self._below_root(path)
        self.findings.append(
            Finding(severity=severity, patient_id=self.patient_id, file=file, code=code, message=message)
        )

    def _below_root(self, path: Path) -> str:
        return path.relative_to(self._config.root).as_posix()
