"""Check a network of this folder on patients: who of them is a test patient, and is the Dice that of its card?

    python models/check.py models/lgg-pruned-90.onnx /path/to/kaggle_3m

Takes folders of patients in kaggle_3m layout, or folders above them, and needs the base install alone. A patient is
recognised by the decoded pixels of images and masks, as `wcr_med.volumes.pixels.pixel_hash` hashes them: another name,
compression or date of the files does not matter. Ends with 1 where a Dice differs from the card's, with 2 where no test
patient is there.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wcr_med.errors import UserError
from wcr_med.runtime import Segmenter
from wcr_med.volumes.kaggle import read_kaggle_patient
from wcr_med.volumes.pixels import pixel_hash

TOLERANCE = 1e-3  # another processor may move a few voxels that lie on the threshold


def patient_folders(places: Sequence[Path]) -> Iterator[Path]:
    """Every folder with TIFFs, of those given and those one level below."""
    for place in places:
        if not place.is_dir():
            raise UserError(f"{place}: no such folder; give a patient's folder, or the one above")
        for folder in (place, *sorted(path for path in place.iterdir() if path.is_dir())):
            if any(folder.glob("*.tif")):
                yield folder


def dice(reference: np.ndarray[Any, Any], predicted: np.ndarray[Any, Any]) -> float | None:
    """Twice the shared voxels over the voxels of both; `None` where both are empty."""
    both = int(np.count_nonzero(reference)) + int(np.count_nonzero(predicted))
    return 2 * int(np.count_nonzero(np.logical_and(reference, predicted))) / both if both else None


def check(segmenter: Segmenter, rows: Mapping[str, Mapping[str, Any]], folder: Path) -> tuple[str, bool | None]:
    """A line on one patient, and whether the Dice is that of the card; `None` for no test patient."""
    volume = read_kaggle_patient(folder, with_mask=True)
    row = rows.get(pixel_hash(volume.image_SHWC))
    if row is None:
        return "not a test patient: it may have trained the network", None
    assert volume.mask_SHW is not None
    if pixel_hash(volume.mask_SHW) != row["mask_sha256"]:
        return f"test patient {row['number']}, with another mask than the one it was scored on", False
    found, told = dice(volume.mask_SHW, segmenter.mask(volume.image_SHWC)), row["dice"]
    same = found == told if found is None or told is None else abs(found - told) <= TOLERANCE
    return f"test patient {row['number']}: Dice {shown(found)}, {shown(told)} in the card", same


def shown(value: float | None) -> str:
    """Four decimals."""
    return "undefined" if value is None else f"{value:.4f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="the portable file; its card lies beside it")
    parser.add_argument("folders", type=Path, nargs="+", help="patients in kaggle_3m layout, or the folder above them")
    given = parser.parse_args(arguments)
    try:
        card = json.loads(given.model.with_suffix(".model_card.json").read_text(encoding="utf-8"))
        rows = {row["image_sha256"]: row for row in card["test_patients"]}
        agree: list[bool] = []
        with Segmenter.from_file(given.model) as segmenter:
            for folder in patient_folders(given.folders):
                line, same = check(segmenter, rows, folder)
                print(f"{folder.name}: {line}{'' if same is not False else '; DIFFERS'}")
                agree += [] if same is None else [same]
    except (UserError, OSError, KeyError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{len(agree)} of the {len(rows)} test patients are there; {sum(agree)} with the Dice of the card")
    return 2 if not agree else int(not all(agree))


if __name__ == "__main__":
    sys.exit(main())
