r"""How much a trained network of a run loses by pruning, under settings of `pruning`: one training, many repairs.

    python benchmarks/repair.py RUN --sparsity 0.9 0.95 --try "pruning.tune_epochs=1 pruning.repair_slices=256" \
        --try "pruning.tune_epochs=4 pruning.repair_slices=1024"

Scored as `wcr-med compare` scores, on the network's own grid: compare rows, and read a network's figures in its report.
Choose by the validation column; the test patients of a run are for its last word.
"""

import argparse
import sys
from pathlib import Path

from wcr_med.compare.scoring import Rung, score_ladder
from wcr_med.report.comparison.ladders import METRICS, Ladder, mean_with_interval
from wcr_med.stages.inputs import open_cache, open_patients
from wcr_med.stages.networks import open_dense
from wcr_med.stages.workspace import open_workspace
from wcr_med.training.processor import processor_settings


def scores(rung: Rung) -> tuple[float, float]:
    """`dice_patient` and `f1_pooled` on the test patients; where nothing was to find nor found, there is no Dice."""
    ladder = Ladder(counts={(0, None): rung.patients or {}})
    dice_patient, f1_pooled = (mean_with_interval(ladder, metric).value for metric in METRICS)
    return dice_patient, f1_pooled


def rungs(run: Path, assignments: list[str], sparsities: list[float]) -> list[Rung]:
    """The run's dense network, and pruned to each sparsity, without and with repair."""
    workspace = open_workspace(run, config_path=None, assignments=assignments)
    patients = open_patients(workspace)
    with processor_settings(workspace.config.training.threads):
        return score_ladder(
            open_dense(workspace, patients.split)[0],
            open_cache(workspace, patients),
            patients.split,
            workspace.config,
            sparsities=sparsities,
            repair=workspace.config.pruning.repair,
            test=True,
        )


def main() -> int:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder with a trained network")
    parser.add_argument("--sparsity", type=float, nargs="+", default=[0.9, 0.95])
    parser.add_argument(
        "--try", action="append", dest="settings", metavar='"FIELD=VALUE ..."', help="one ladder; may be repeated"
    )
    given = parser.parse_args()
    print("| settings | sparsity | repaired | validation, `dice_patient` | test, `dice_patient` | test, `f1_pooled` |")
    print("|---|--:|---|--:|--:|--:|")
    for settings in given.settings or [""]:
        for rung in rungs(given.run, settings.split(), given.sparsity):
            dice_patient, f1_pooled = scores(rung)
            print(
                f"| {settings} | {rung.sparsity:.0%} | {'yes' if rung.repaired else 'no'} | {rung.validation_dice:.3f}"
                f" | {dice_patient:.3f} | {f1_pooled:.3f} |",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
