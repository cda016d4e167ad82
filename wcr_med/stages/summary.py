"""Gather what the stages wrote into summary.json, summary.md and two figures."""

from collections import Counter
from collections.abc import Sequence

from wcr_med.data.phantom import is_phantom
from wcr_med.errors import UserError
from wcr_med.evaluation import EvaluationResult
from wcr_med.evaluation.pool import at_level
from wcr_med.files import read_json
from wcr_med.provenance import provenance
from wcr_med.report.analysis.document import Analysis, NetworkAnalysis
from wcr_med.report.clinical.inputs import ReportInputs
from wcr_med.report.document import (
    DataSummary,
    ExportSummary,
    LadderRow,
    ModelSummary,
    NetworkSummary,
    TrainingSummary,
)
from wcr_med.report.figures import draw_patients, draw_sparsity, load_cases
from wcr_med.report.summary import PATIENTS_FIGURE, SPARSITY_FIGURE, write_summary
from wcr_med.report.summary_document import SummaryDocument
from wcr_med.stages.export import manifest_path
from wcr_med.stages.facts import NetworkFacts
from wcr_med.stages.inputs import Patients, open_patients
from wcr_med.stages.ladder import repairs, rung_folder
from wcr_med.stages.workspace import DENSE, Workspace


def write_run_summary(
    workspace: Workspace, inputs: ReportInputs, analysis: Analysis, *, command: str | None = None
) -> None:
    """Write summary.json, summary.md and two figures of a hold-out, from the analysis that its report is made of.

    Raises:
        UserError: a stage has not been run; the message names the missing file.
    """
    config, out = workspace.config, workspace.out
    draw_sparsity(analysis.ladder, (out / SPARSITY_FIGURE).with_suffix(""))
    kept = workspace.evaluation_folder(analysis.primary)
    cases = load_cases(inputs.pruned.result, tuple(inputs.entries.values()), kept)
    draw_patients(cases, (out / PATIENTS_FIGURE).with_suffix(""))
    dense = NetworkFacts.load(workspace.evaluation_folder(DENSE))
    document = SummaryDocument(
        title=f"Pruning {config.model.name} to {100 * config.pruning.sparsity:.6g} % sparsity",
        command=command,
        data=_data(workspace, open_patients(workspace)),
        model=ModelSummary(
            name=config.model.name,
            features=config.model.features,
            n_all=dense.n_all,
            n_prunable=dense.n_prunable,
            grid=(config.preprocess.height, config.preprocess.width),
        ),
        training=_training(dense),
        dense=_network(analysis, analysis.dense),
        pruned=_network(analysis, analysis.pruned),
        paired=analysis.verdict.paired,
        verdict=analysis.verdict.verdict,
        pairs=analysis.verdict.pairs,
        cost=analysis.verdict.cost,
        worst_disturbance=analysis.verdict.worst_disturbance,
        flips=analysis.verdict.flips,
        outcome_bounds=analysis.statistics.outcome_bounds,
        not_compared=analysis.verdict.not_compared,
        warnings=analysis.notices_of("summary"),
        ladder=analysis.ladder,
        export=_export(workspace, analysis.primary),
        provenance=inputs.provenance,
        threshold_source="validation" if config.evaluation.threshold == "auto" else "configuration",
        notes=inputs.notes,
    )
    write_summary(out, document)


def _network(analysis: Analysis, network: NetworkAnalysis) -> NetworkSummary:
    return NetworkSummary(
        name=network.name,
        sparsity_prunable=network.sparsity_prunable,
        sparsity_all=network.sparsity_all,
        repair=network.repair,
        retrained_epochs=network.retrained_epochs,
        threshold=analysis.partitions[0].thresholds[network.name],
        scores=network.scores,
        n_both_empty=network.cases.n_both_empty,
        false_positive_voxels=network.cases.false_positive_voxels,
    )


def ladder_rows(workspace: Workspace) -> tuple[LadderRow, ...]:
    """The scores of `pruning.ladder`, each sparsity as pruned and repaired.

    Raises:
        UserError: a rung has not been scored, or its scores were changed since.
    """
    rows = []
    for sparsity in workspace.config.pruning.ladder:
        for repair in repairs(workspace):
            folder = rung_folder(workspace, sparsity, repaired=bool(repair))
            workspace.vouch(f"ladder-{folder.name}")
            result = at_level(EvaluationResult.load(folder / "metrics.json"), workspace.config.evaluation)
            rows.append(LadderRow.from_result(result, sparsity=sparsity, repair=repair))
    return tuple(rows)


def _training(dense: NetworkFacts) -> TrainingSummary:
    step = dense.step("train")
    assert step is not None  # the train stage wrote it
    return TrainingSummary(
        regularizer=step["regularizer"]["name"],
        strength=step["regularizer"]["strength"],
        optimizer=step["optimizer"]["name"],
        learning_rate=step["optimizer"]["learning_rate"],
        epochs=step["epochs_run"],
        best_epoch=step["best_epoch"],
        best_dice=float("nan") if step["best_dice"] is None else step["best_dice"],
        seconds=step["seconds"],
    )


def _data(workspace: Workspace, patients: Patients) -> DataSummary:
    split = patients.split
    data = workspace.config.data
    return DataSummary(
        source=(
            "a phantom that this package made; no real patients"
            if is_phantom(data.root)
            else f"images in {data.format} layout"
        ),
        n_train=len(split.train),
        n_validation=len(split.validation),
        n_test=len(split.test),
        split_method=split.method,
        split_hash=split.hash,
        institutions={
            part: _institutions(patients, ids)
            for part, ids in (("train", split.train), ("validation", split.validation), ("test", split.test))
        },
    )


def _institutions(patients: Patients, patient_ids: Sequence[str]) -> dict[str, int]:
    return dict(sorted(Counter(entry.institution for entry in patients.of(tuple(patient_ids))).items()))


def _export(workspace: Workspace, name: str) -> ExportSummary | None:
    path = workspace.onnx_path(name)
    workspace.vouch(f"export-{name}")
    if not manifest_path(path).exists():
        return None
    manifest = read_json(manifest_path(path))
    parity, tolerances = manifest["parity"], workspace.config.export
    return ExportSummary(
        file=path.name,
        n_bytes=manifest["size_bytes"],
        dense_bytes=manifest["dense_size_bytes"],
        logit_difference=parity["largest_logit_difference"],
        logit_tolerance=tolerances.logit_tolerance,
        dice_difference=parity["largest_dice_difference"],
        dice_tolerance=tolerances.dice_tolerance,
        n_slices=parity["n_slices"],
    )


def run_notes(workspace: Workspace, commits: Sequence[str | None]) -> tuple[str, ...]:
    """Sentences that a reader of the run must know.

    Args:
        workspace: its audit is read, where there is one.
        commits: at which each dense network was trained.
    """
    notes = [*workspace.notes]
    audit_path = workspace.out / "audit.json"
    if audit_path.exists():
        try:
            warnings = sum(finding["severity"] == "warning" for finding in read_json(audit_path)["findings"])
        except (KeyError, TypeError):
            raise UserError(f"{audit_path}: not an audit; delete it, and let `wcr-med run` make it again") from None
        if warnings:
            notes.append(f"The audit of the images has {warnings} warning{'s' * (warnings > 1)}; see audit.json.")
    # Finished stages are kept, so the code that trained need not be the code that writes this.
    now = provenance(seed=None)["commit"]
    if earlier := [commit for commit in dict.fromkeys(commits) if commit != now]:
        named = ", ".join(commit or "unknown" for commit in earlier)
        notes.append(f"The dense network was trained at commit {named}; the provenance below is later.")
    return tuple(notes)
