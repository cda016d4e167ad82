"""What could not be computed, or limits what a figure says, in sentences."""

import math
from collections.abc import Iterator, Sequence

from wcr_med.metrics.uncertainty import FEWEST_PATIENTS
from wcr_med.report.analysis.cost import fragile
from wcr_med.report.analysis.document import NetworkAnalysis, Notice, RobustnessCurve
from wcr_med.report.analysis.grouping import clinical_columns
from wcr_med.report.clinical.inputs import ReportInputs
from wcr_med.report.clinical.outcomes import fragile_sentence


def notices_of(
    inputs: ReportInputs, networks: tuple[NetworkAnalysis, ...], robustness: Sequence[RobustnessCurve]
) -> tuple[Notice, ...]:
    """Every notice, in the order of the sections."""
    return (
        *_of_robustness(inputs, robustness),
        *_of_patients(inputs, networks[0]),
        *_of_attributes(inputs),
        *(notice for network in networks for notice in _of_network(network)),
        *_of_spacing(networks[0]),
        *_of_absent(inputs),
    )


def _of_robustness(inputs: ReportInputs, robustness: Sequence[RobustnessCurve]) -> Iterator[Notice]:
    """What takes more than half of the Dice away: a reader of the first screen must know it."""
    for entry in fragile(robustness, dense=inputs.dense.name, pruned=inputs.primary):
        yield Notice(section="summary", message=fragile_sentence(entry))


def _of_patients(inputs: ReportInputs, dense: NetworkAnalysis) -> Iterator[Notice]:
    cases = dense.cases
    if inputs.phantom:
        yield Notice(section="summary", message="The images are made up: no figure here says anything about patients.")
    if cases.n_patients == 1:
        yield Notice(
            section="summary",
            message="There is one test patient: no interval, no test and no verdict can be given.",
        )
    elif cases.n_patients < FEWEST_PATIENTS:
        yield Notice(
            section="summary",
            message=f"There are only {cases.n_patients} test patients: no interval and no verdict can be given, and no"
            " subgroup is judged.",
        )
    elif cases.n_patients < inputs.settings.min_subgroup:
        yield Notice(
            section="summary",
            message=f"There are only {cases.n_patients} test patients: intervals are rough, and no subgroup is judged.",
        )
    if 0 < cases.n_not_found == sum(point.reference > 0 for point in dense.volume.points):
        yield Notice(
            section="summary",
            message="The dense network finds no tumour at all, so that another is non-inferior to it says nothing.",
        )
    n_empty = sum(row.tp + row.fn == 0 for row in inputs.dense.result.rows)
    if n_empty == cases.n_patients:
        yield Notice(
            section="performance",
            message="No reference mask holds a tumour: recall, volume error and lesion sensitivity do not exist, and"
            " Dice is 0 for a false alarm and does not exist otherwise. Figures of overlap say nothing here.",
        )
    elif n_empty:
        yield Notice(
            section="performance",
            message=f"The reference of {n_empty} of {cases.n_patients} patients is empty. A right empty answer has no"
            " Dice and is left out of means, a false alarm counts 0.",
        )


def _of_attributes(inputs: ReportInputs) -> Iterator[Notice]:
    columns = clinical_columns(entry.clinical for entry in inputs.attributes.values())
    if not columns:
        yield Notice(
            section="subgroups",
            message="No clinical attributes are known (no data.csv beside the images, or no line of these patients), so"
            " there are no subgroups by them.",
        )
    unknown = [name for name in inputs.settings.subgroup_columns or () if name not in columns]
    if unknown and columns:
        yield Notice(
            section="subgroups",
            message=f"report.subgroup_columns asks for {', '.join(unknown)}, of which data.csv holds nothing. It holds"
            f" {', '.join(columns)}.",
        )


def _of_network(network: NetworkAnalysis) -> Iterator[Notice]:
    points = network.volume.points
    if all(point.predicted == 0 for point in points) and any(point.reference > 0 for point in points):
        yield Notice(section="performance", message=f"The network ({network.label}) predicts nothing in any patient.")
    elif network.cases.n_missed:
        yield Notice(
            section="performance",
            message=f"The network ({network.label}) predicts nothing at all in {network.cases.n_missed} patients with a"
            " tumour. They count as Dice 0 and with the diagonal of the volume as distance.",
        )
    if network.lesions.n_reference == 0 and network.name == "dense":
        yield Notice(
            section="lesions",
            message=f"No reference lesion has at least {network.lesions.min_voxels} voxels: no sensitivity.",
        )
    if network.calibration is None:
        yield Notice(
            section="calibration", message=f"No probabilities are in question for the network ({network.label})."
        )
    if not network.threshold.points:
        yield Notice(
            section="threshold", message=f"No counts by threshold are stored for the network ({network.label})."
        )


def _of_spacing(dense: NetworkAnalysis) -> Iterator[Notice]:
    if dense.volume.unit == "voxels":
        yield Notice(
            section="volume",
            message="The size of a voxel is not known for every patient: volumes are in voxels and distances in pixels,"
            " one slice counting as one pixel. Neither compares with other data sets.",
        )
    if "mean_hd95_px" not in dense.scores and math.isfinite(dense.scores["dice_patient"].value):
        yield Notice(
            section="performance",
            message="There are no surface distances: the evaluation measured none, or an older version made it, whose"
            " distances counted voxels and are not comparable. `wcr-med evaluate` measures them.",
        )


def _of_absent(inputs: ReportInputs) -> Iterator[Notice]:
    if inputs.robustness is None:
        yield Notice(section="robustness", message="Robustness was not measured.")
    if not any(network.deployment for network in inputs.networks):
        yield Notice(section="deployment", message="No exported file was measured.")
    if not inputs.ladder:
        yield Notice(section="pruning", message="Sparsities other than those of the networks below were not scored.")
