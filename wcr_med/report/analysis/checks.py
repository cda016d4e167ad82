"""What must hold before anything is computed: the same patients and the same reference for every network."""

from collections import Counter
from collections.abc import Sequence

from wcr_med.errors import UserError
from wcr_med.evaluation.rows import PatientRow
from wcr_med.evaluation.threshold import GRID
from wcr_med.report.clinical.inputs import Network, ReportInputs


def check_inputs(inputs: ReportInputs) -> None:
    """Refuse inputs from which a number would be wrong.

    Raises:
        UserError: there is no dense or no primary network, no test patients, a patient stands twice, networks were
            scored on different patients or against different references, or the patients are not those of the
            partitions or of the data set. The message names the network and the patient.
    """
    names = [network.name for network in inputs.networks]
    if not names or inputs.primary not in names[1:]:
        listed = ", ".join(names) or "none"
        raise UserError(f"no pruned network {inputs.primary} beside a dense one (there are: {listed}); prune first")
    for network in inputs.networks:
        _check_rows(network)
        _check_same(inputs.dense, network)
    scored = {row.patient_id for row in inputs.dense.result.rows}
    if absent := sorted(scored - set(inputs.attributes)):
        raise UserError(f"patient {absent[0]} was scored but is not in the data set; set data.root to that of the run")
    tested = Counter(patient_id for partition in inputs.partitions for patient_id in partition.parts.get("test", ()))
    if odd := sorted(scored ^ set(tested)):
        where = "scored but no test patient" if odd[0] in scored else "a test patient but was not scored"
        raise UserError(f"patient {odd[0]} is {where} of this split; run the evaluation again")
    if twice := sorted(patient_id for patient_id, count in tested.items() if count > 1):
        raise UserError(f"patient {twice[0]} is a test patient of two partitions; split the patients again")
    for partition in inputs.partitions:
        everyone = [patient_id for patients in partition.parts.values() for patient_id in patients]
        if absent := sorted(set(everyone) - set(inputs.attributes)):
            raise UserError(f"patient {absent[0]} of {partition.name} is not in the data set; set data.root to its own")


def _check_rows(network: Network) -> None:
    rows = network.result.rows
    if not rows:
        raise UserError(f"{network.name}: no test patients; raise split.test_patients, then run the evaluation again")
    twice = [patient_id for patient_id, count in Counter(row.patient_id for row in rows).items() if count > 1]
    if twice:
        raise UserError(f"{network.name}: patient {twice[0]} stands twice; run the evaluation again")
    for row in rows:
        if row.threshold_tp and len(row.threshold_tp) != len(GRID):
            raise UserError(
                f"{network.name}, patient {row.patient_id}: {len(row.threshold_tp)} thresholds, expected {len(GRID)};"
                " run the evaluation again"
            )


def _check_same(dense: Network, network: Network) -> None:
    first, second = (_by_id(entry.result.rows) for entry in (dense, network))
    if odd := sorted(set(first) ^ set(second)):
        missing = network.name if odd[0] in first else dense.name
        raise UserError(f"patient {odd[0]} was not scored for {missing}; evaluate all networks on the same patients")
    if dense.result.lesion_min_voxels != network.result.lesion_min_voxels:
        raise UserError(f"{network.name}: another evaluation.lesion_min_voxels than dense; run the evaluation again")
    for patient_id, row in second.items():
        if _reference(row) != _reference(first[patient_id]):
            raise UserError(
                f"patient {patient_id}: the reference of {network.name} is not that of {dense.name}; evaluate both"
            )


def _reference(row: PatientRow) -> tuple[object, ...]:
    return row.tp + row.fn, row.fp + row.tn, row.n_slices, tuple((entry.index, entry.n_voxels) for entry in row.lesions)


def _by_id(rows: Sequence[PatientRow]) -> dict[str, PatientRow]:
    return {row.patient_id: row for row in rows}
