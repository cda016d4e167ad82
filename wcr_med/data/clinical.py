"""data.csv: clinical codes of patients, in whatever dialect of CSV the file was saved."""

import csv
import io
import logging
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wcr_med.errors import UserError

_LOG = logging.getLogger(__name__)
_SHOWN = 5  # patients named in a warning
_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_NAMELESS = re.compile(r"Unnamed: \d+")  # what pandas calls a column without a name
_UTF16 = (b"\xff\xfe", b"\xfe\xff")  # what a spreadsheet calls "Unicode text"


@dataclass(frozen=True, kw_only=True)
class ClinicalTable:
    """What a table of patients holds.

    Attributes:
        codes: by patient id and column, as text without blanks around it; empty fields are absent.
        separator: "comma", "semicolon", "tab" or "bar".
        id_column: name of the column of patient ids; "" where it has none.
        columns: names of the others, in order.
        left_out: what was passed over, each in words: comment lines, columns without a name, fields without a column.
    """

    codes: dict[str, dict[str, str]]
    separator: str
    id_column: str
    columns: tuple[str, ...]
    left_out: tuple[str, ...]

    def summary(self) -> str:
        """One line: which columns were found and what was left out."""
        named = f"column of patients {self.id_column!r}" if self.id_column else "a nameless column of patients"
        text = f"{named}, separator {self.separator}, columns: {', '.join(self.columns) or 'none'}"
        return text + (f"; left out: {', '.join(self.left_out)}" if self.left_out else "")


def read_clinical(path: Path, patient_ids: Sequence[str]) -> dict[str, dict[str, str]]:
    """The codes of data.csv, by patient id and column; what was found is logged.

    Returns:
        Nothing where the file does not exist, or holds none of the patients (a warning says so).

    Raises:
        UserError: the file cannot be read, or a patient stands in two lines.
    """
    table = read_clinical_table(path, patient_ids)
    if table is None:
        if path.is_file():
            _LOG.warning("%s: no column holds a patient id of the data set, so no clinical attributes are known", path)
        return {}
    _LOG.info("%s: %s", path, table.summary())
    if unknown := sorted(set(patient_ids) - set(table.codes)):
        more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        _LOG.warning("%s: no line for %s%s", path, ", ".join(unknown[:_SHOWN]), more)
    return table.codes


def read_clinical_table(path: Path, patient_ids: Sequence[str]) -> ClinicalTable | None:
    """Read data.csv.

    The separator is the one of comma, semicolon, tab and bar with which some column holds the most of `patient_ids`;
    that column names the patients. Lines that begin with `#`, and a title of one field above the head, are passed over;
    so are columns without a name. Blanks around names and fields do not count. Lines of patients that were not asked
    for are left out.

    Returns:
        `None` where the file does not exist, or no column holds one of the patients.

    Raises:
        UserError: the file cannot be read, or a patient stands in two lines.
    """
    if not path.is_file():
        return None
    lines, left_out = _lines(path)
    wanted = set(patient_ids)
    tables, first_error = {}, None
    for separator in _SEPARATORS:
        try:
            tables[separator] = _parsed(lines, separator)
        except ValueError as error:
            first_error = first_error or error
    if not tables:
        reason = " ".join(str(first_error).split())
        raise UserError(f"{path}: not a readable table ({reason}); mend it, or move it away") from None
    separator = max(tables, key=lambda mark: _most_ids(tables[mark], wanted))
    head, rows, notes = tables[separator]
    columns = [place for place in range(len(head)) if any(row[place] in wanted for row in rows)]
    if not columns:
        if "," not in tables and first_error is not None:
            raise UserError(f"{path}: not a readable table ({first_error}); mend it, or move it away") from None
        return None
    ids = columns[0]
    nameless = [place for place, name in enumerate(head) if not name and place != ids]
    kept = [place for place, name in enumerate(head) if name and place != ids]
    codes: dict[str, dict[str, str]] = {}
    for row in rows:
        if row[ids] not in wanted:
            continue
        if row[ids] in codes:
            raise UserError(f"{path}: patient {row[ids]} stands in two lines; keep one")
        codes[row[ids]] = {head[place]: row[place] for place in kept if row[place]}
    left_out += notes
    left_out += [f"column {place + 1} without a name" for place in nameless]
    return ClinicalTable(
        codes=codes,
        separator=_SEPARATORS[separator],
        id_column=head[ids],
        columns=tuple(head[place] for place in kept),
        left_out=tuple(left_out),
    )


_Parsed = tuple[list[str], list[list[str]], list[str]]


def _lines(path: Path) -> tuple[list[str], list[str]]:
    """The lines of a file without comments, and what was left out."""
    try:
        content = path.read_bytes()
        text = content.decode("utf-16" if content.startswith(_UTF16) else "utf-8-sig")
    except (OSError, UnicodeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not a readable table ({reason}); save it as CSV in UTF-8, or move it away") from None
    lines = text.splitlines()
    if lines and re.fullmatch(r"sep=.", lines[0]):  # a hint for spreadsheets
        del lines[0]
    kept = [line for line in lines if not line.lstrip().startswith("#")]
    n_comments = len(lines) - len(kept)
    left_out = [f"{n_comments} comment {'line' if n_comments == 1 else 'lines'}"] if n_comments else []
    return kept, left_out


def _parsed(lines: Sequence[str], separator: str) -> _Parsed:
    """Head, rows of as many fields, and what was left out: titles above the head, fields beyond the last column.

    Raises:
        ValueError: not a table.
    """
    import pandas as pd  # here, because training and export do without it

    kept = [line for line in lines if line.strip()]
    notes = []
    while len(kept) > 1 and separator not in kept[0] and separator in kept[1]:
        notes.append(f"title {kept.pop(0).strip()!r}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pd.errors.ParserWarning)  # fields beyond the last column's name
        table = pd.read_csv(
            io.StringIO("\n".join(kept)), sep=separator, dtype=str, skipinitialspace=True, index_col=False
        )
    cells = [["" if pd.isna(value) else value.strip() for value in row] for row in table.to_numpy(dtype=object)]
    head = [str(name).strip() for name in table.columns]
    try:
        lines_read = list(csv.reader(kept, delimiter=separator, skipinitialspace=True))
    except csv.Error as error:  # such as a field of a length that no table has
        raise ValueError(str(error)) from None
    beyond = sum(any(map(str.strip, line[len(head) :])) for line in lines_read)
    if beyond:  # such as an unquoted decimal comma
        notes.append(f"fields beyond the last column, in {beyond} {'line' if beyond == 1 else 'lines'}")
    return ["" if _NAMELESS.fullmatch(name) else name for name in head], cells, notes


def _most_ids(parsed: _Parsed, wanted: set[str]) -> tuple[int, int]:
    """Patients in the best column, then the number of columns."""
    head, rows, _ = parsed
    return max((sum(row[place] in wanted for row in rows) for place in range(len(head))), default=0), len(head)
