"""What came of a call of `infer`, and its two tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wcr_med.errors import printable
from wcr_med.files import write_csv
from wcr_med.runtime.sources import Failure

VOLUMES, FAILURES = "volumes.csv", "failures.csv"
"""The tables in the output folder."""

_COLUMNS = (
    "volume", "slices", "slices_with_lesion", "lesion_voxels", "lesion_ml", "threshold", "seconds", "channels",
    "left_out", "warning", "error",
)  # fmt: skip
UNLIKE = 3
"""Exit code where every input was segmented, and one at least is unlike the images that the network was trained on."""

_FIRST_OF_MANY, _MOST = 100, 125


@dataclass(frozen=True, kw_only=True)
class SegmentedVolume:
    """One volume that was segmented.

    Attributes:
        name: of the volume.
        mask_files: the masks; one for NIfTI and DICOM, one a slice otherwise.
        n_slices: slices of the volume.
        n_slices_with_lesion: slices with at least one lesion voxel.
        n_lesion_voxels: voxels of the mask.
        lesion_ml: their volume in millilitres; `None` where the spacing is unknown.
        threshold: of the mask.
        seconds: from reading to writing.
        resumed: an earlier call did it.
        channels: what each channel was read from; "" where the format leaves no choice.
        left_out: parts of the input that were not read.
        warning: what speaks against the image, so that its mask may be wrong; "" where nothing does.
    """

    name: str
    mask_files: tuple[Path, ...]
    n_slices: int
    n_slices_with_lesion: int
    n_lesion_voxels: int
    lesion_ml: float | None
    threshold: float
    seconds: float
    resumed: bool = False
    channels: str = ""
    left_out: str = ""
    warning: str = ""


@dataclass(frozen=True, kw_only=True)
class InferenceReport:
    """What came of a call of `infer`.

    Attributes:
        volumes: segmented, in order.
        failures: inputs that could not be; the others were segmented all the same.
        table: the CSV file with a row for each of both.
        failure_table: the CSV file with the failures alone; without rows where there are none.
    """

    volumes: tuple[SegmentedVolume, ...]
    failures: tuple[Failure, ...]
    table: Path
    failure_table: Path

    @property
    def ok(self) -> bool:
        """Every input was segmented."""
        return not self.failures

    @property
    def exit_code(self) -> int:
        """Of the command: 0; `UNLIKE` where a volume has a warning; 100 and the number of failures, at most 125."""
        return exit_code(self.failures) or (UNLIKE if self.warnings else 0)

    @property
    def warnings(self) -> tuple[SegmentedVolume, ...]:
        """The volumes with a warning."""
        return tuple(volume for volume in self.volumes if volume.warning)


def exit_code(failures: Sequence[Failure]) -> int:
    """0 without failures; else 100 and their number, at most 125, so that no other meaning of a code is met."""
    return min(_FIRST_OF_MANY + len(failures), _MOST) if failures else 0


def write_tables(out: Path, volumes: Sequence[SegmentedVolume], failures: Sequence[Failure]) -> tuple[Path, Path]:
    """Write `volumes.csv` and `failures.csv`, each whole or not at all, and return their paths.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    failed = [{"volume": failure.name, "error": failure.message} for failure in failures]
    write_csv(out / VOLUMES, _COLUMNS, [*map(_row, volumes), *failed])
    write_csv(out / FAILURES, ("volume", "error"), failed)
    return out / VOLUMES, out / FAILURES


def failure_lines(failures: Sequence[Failure]) -> list[str]:
    """A table for a terminal: which failed, and why."""
    names = [printable(failure.name) for failure in failures]
    width = max(map(len, names), default=0)
    return [f"{name:{width}}  {failure.message}" for name, failure in zip(names, failures, strict=True)]


def warning_lines(volumes: Sequence[SegmentedVolume]) -> list[str]:
    """A table for a terminal: what speaks against which image."""
    names = [printable(volume.name) for volume in volumes]
    width = max(map(len, names), default=0)
    return [f"{name:{width}}  {printable(volume.warning)}" for name, volume in zip(names, volumes, strict=True)]


def _row(volume: SegmentedVolume) -> dict[str, object]:
    return {
        "volume": volume.name,
        "slices": volume.n_slices,
        "slices_with_lesion": volume.n_slices_with_lesion,
        "lesion_voxels": volume.n_lesion_voxels,
        "lesion_ml": "" if volume.lesion_ml is None else f"{volume.lesion_ml:.4g}",
        "threshold": f"{volume.threshold:g}",
        "seconds": f"{volume.seconds:.2f}",
        "channels": volume.channels,
        "left_out": volume.left_out,
        "warning": volume.warning,
    }
