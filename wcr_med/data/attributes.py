"""What is known of a patient beside the images: institution, missing sequences, clinical codes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wcr_med.data.clinical import read_clinical
from wcr_med.data.index import PatientEntry, load_volume
from wcr_med.data.sequences import ChannelContent, missing_sequences
from wcr_med.volumes import Array
from wcr_med.volumes.images import read_rgb
from wcr_med.volumes.kaggle import list_slices


@dataclass(frozen=True, kw_only=True)
class PatientAttributes:
    """One patient.

    Attributes:
        patient_id: unique within the data set.
        institution: "unknown" where the name tells none.
        missing_sequences: names of channels that are copies of another or one constant value, in channel order.
        clinical: codes by column of data.csv, as text; a column without a value is absent. Empty without data.csv.
    """

    patient_id: str
    institution: str
    missing_sequences: tuple[str, ...] = ()
    clinical: Mapping[str, str] = field(default_factory=dict)


def read_attributes(entries: Sequence[PatientEntry], root: Path) -> dict[str, PatientAttributes]:
    """The attributes of every patient, by patient id in the order of `entries`.

    Images are read until each channel has shown something of its own; a patient whose sequences are all there costs a
    slice or two, one with a copy the whole folder. Patients without a line in data.csv are named in one warning.

    Args:
        entries: the patients.
        root: folder of the data set; `root/data.csv` is read where it exists.

    Raises:
        UserError: data.csv cannot be read, or holds two lines for one patient; an image cannot be read.
    """
    clinical = read_clinical(root / "data.csv", [entry.patient_id for entry in entries])
    return {
        entry.patient_id: PatientAttributes(
            patient_id=entry.patient_id,
            institution=entry.institution,
            missing_sequences=find_missing_sequences(entry),
            clinical=clinical.get(entry.patient_id, {}),
        )
        for entry in entries
    }


def find_missing_sequences(entry: PatientEntry) -> tuple[str, ...]:
    """Names of the sequences that a patient lacks, in channel order (`wcr_med.data.sequences.missing_sequences`).

    Raises:
        UserError: an image cannot be read.
    """
    content = ChannelContent()
    n_channels = 0
    for image_HWC in _slices(entry):
        content.see(image_HWC)
        n_channels = image_HWC.shape[2]
        if content.settled:
            break
    return missing_sequences(content, entry.channel_names(n_channels))


def _slices(entry: PatientEntry) -> Iterator[Array]:
    if entry.format == "kaggle_3m":
        yield from (read_rgb(pair.image) for pair in list_slices(entry.folder))
    else:
        yield from load_volume(entry, with_mask=False).image_SHWC
