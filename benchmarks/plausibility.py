"""How often sound images are called unlike the training images, and how often swapped channels are noticed.

    python benchmarks/plausibility.py /path/to/kaggle_3m --out rates.csv

Every patient is judged by statistics of the others: of all others, and of those of other institutions. Patients whose
sequences are copies of one another count as sound images, but have no order to swap. About four seconds a patient.
"""

import argparse
from dataclasses import replace
from itertools import combinations, permutations
from pathlib import Path

import numpy as np

from wcr_med.channel_names import KAGGLE_CHANNELS
from wcr_med.config import DataConfig
from wcr_med.data.attributes import find_missing_sequences
from wcr_med.data.index import index_patients, load_volume
from wcr_med.files import write_csv
from wcr_med.plausibility import Look, doubts, fit_statistics, look
from wcr_med.preprocess import PreprocessSettings, survey

ORDERS = list(permutations(range(3)))


def swapped(seen: Look, order: tuple[int, ...]) -> Look:
    """The look of the image with its channels in another order."""
    places = {pair: place for place, pair in enumerate(combinations(range(3), 2))}
    pairs = [places[min(order[a], order[b]), max(order[a], order[b])] for a, b in places]
    by_channel = ("below_zero_C", "at_top_C", "constant_C", "channels_CF")
    taken = {name: getattr(seen, name)[list(order)] for name in by_channel}
    return replace(seen, **taken, pairs_P=seen.pairs_P[pairs])


def main() -> None:
    """Print a row for each question, and write them as a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--out", type=Path, default=Path("rates.csv"))
    given = parser.parse_args()
    entries = index_patients(DataConfig(root=given.root))
    whole = [not find_missing_sequences(entry) for entry in entries]
    looks = []
    for entry in entries:
        image_SHWC = load_volume(entry, with_mask=False).image_SHWC
        looks.append(look(image_SHWC, survey(image_SHWC, PreprocessSettings())))
    rows = []
    for design in ("patient", "institution"):
        counts = dict.fromkeys(ORDERS, 0)
        called, n_whole = 0, sum(whole)
        for place, entry in enumerate(entries):
            others = [
                seen
                for other, seen in zip(entries, looks, strict=True)
                if other is not entry and (design == "patient" or other.institution != entry.institution)
            ]
            statistics = fit_statistics(others)
            called += bool(doubts(looks[place], statistics, KAGGLE_CHANNELS))
            for order in ORDERS if whole[place] else ():
                lines = doubts(swapped(looks[place], order), statistics, KAGGLE_CHANNELS)
                counts[order] += any(line.startswith("channels look swapped") for line in lines)
        rows.append({"left_out": design, "images": "as they are, any warning", "n": len(entries), "warned": called})
        for order, n in counts.items():
            named = "as they are, called swapped" if order == ORDERS[0] else " ".join(KAGGLE_CHANNELS[c] for c in order)
            rows.append({"left_out": design, "images": named, "n": n_whole, "warned": n})
    write_csv(given.out, ("left_out", "images", "n", "warned"), rows)
    width = max(len(str(row["images"])) for row in rows)
    for row in rows:
        share = int(row["warned"]) / max(int(row["n"]), 1)
        print(f"{row['left_out']:12}  {row['images']:{width}}  {row['warned']:3} of {row['n']:3}  {np.round(share, 3)}")


if __name__ == "__main__":
    main()
