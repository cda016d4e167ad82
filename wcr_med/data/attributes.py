"""What is known of a patient beside the images: institution, missing sequences, clinical codes."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wcr_med.data.index import PatientEntry, load_volume
from wcr_med.data.sequences import ChannelContent, missing_sequences
from wcr_med.errors import UserError
from wcr_med.volumes import Array
from wcr_med.volumes.images import read_rgb
from wcr_med.volumes.kaggle import list_slices

_LOG = logging.getLogger(__name__)
_SHOWN = 5  # patients named in a warning


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


def read_clinical(path: Path, patient_ids: Sequence[str]) -> dict[str, dict[str, str]]:
    """The codes of data.csv, by patient id and column.

    The column of patient ids is the first that holds one of `patient_ids`. Every other column is kept as the text that
    stands there; empty fields are left out, and so are lines of patients that were not asked for.

    Returns:
        Nothing where the file does not exist, or holds none of the patients (a warning says so).

    Raises:
        UserError: the file cannot be read, or a patient stands in two lines.
    """
    if not path.is_file():
        return {}
    import pandas as pd  # here, because training and export do without it

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pd.errors.ParserWarning)  # fields beyond the last column's name
            table = pd.read_csv(path, dtype=str, skipinitialspace=True, index_col=False)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not a readable table ({reason}); mend it, or move it away") from None
    wanted = set(patient_ids)
    columns = [name for name in table.columns if table[name].isin(wanted).any()]
    if not columns:
        _LOG.warning("%s: no column holds a patient id of the data set, so no clinical attributes are known", path)
        return {}
    codes: dict[str, dict[str, str]] = {}
    for record in table.to_dict("records"):
        patient_id = record[columns[0]]
        if patient_id not in wanted:
            continue
        if patient_id in codes:
            raise UserError(f"{path}: patient {patient_id} stands in two lines; keep one")
        texts = {str(name): value.strip() for name, value in record.items() if isinstance(value, str)}
        codes[patient_id] = {name: text for name, text in texts.items() if text and name != columns[0]}
    if unknown := sorted(wanted - set(codes)):
        more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        _LOG.warning("%s: no line for %s%s", path, ", ".join(unknown[:_SHOWN]), more)
    return codes


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
