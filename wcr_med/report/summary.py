"""The one-page summary: Markdown that a clinician or an engineer can read, and the same facts as JSON."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from wcr_med.errors import printable_lines
from wcr_med.files import write_json, write_text
from wcr_med.pruning import RETRAINED, repair_in_words
from wcr_med.report.analysis.verdict import margin_words
from wcr_med.report.clinical.outcomes import (
    bounds_words,
    cost_rows,
    jump_words,
    not_compared_sentence,
    unchanged_sentence,
)
from wcr_med.report.document import NOTICE, LadderRow, NetworkSummary, Score
from wcr_med.report.summary_document import SummaryDocument

SPARSITY_FIGURE = Path("figures/sparsity.png")
PATIENTS_FIGURE = Path("figures/patients.png")

_MOST_PATIENTS = 5  # whose changes are listed

_SCORE_ROWS = (
    ("Dice per patient, mean (`dice_patient`)", "dice_patient", 3),
    ("Dice per patient, median", "dice_patient_median", 3),
    ("Dice of all pixels together (`f1_pooled`)", "f1_pooled", 3),
    ("Dice per slice with tumour", "dice_slice_tumour", 3),
    ("Slices without tumour with a false alarm", "false_positive_rate_free_slices", 3),
    ("Precision, mean", "mean_precision", 3),
    ("Recall, mean", "mean_recall", 3),
    ("HD95 in pixels, mean", "mean_hd95_px", 1),
    ("Surface Dice at 1 pixel, mean", "mean_nsd_1px", 3),
    ("Surface Dice at 2 pixels, mean", "mean_nsd_2px", 3),
)


def write_summary(folder: Path, document: SummaryDocument) -> None:
    """Write summary.json and summary.md into `folder`.

    The figures are shown in summary.md if they lie at `SPARSITY_FIGURE` and `PATIENTS_FIGURE` in `folder` by then.
    """
    write_json(folder / "summary.json", document.to_dict())
    figures = [figure for figure in (SPARSITY_FIGURE, PATIENTS_FIGURE) if (folder / figure).exists()]
    write_text(folder / "summary.md", printable_lines(render_summary(document, figures=figures)))


def render_summary(document: SummaryDocument, *, figures: Sequence[Path] = ()) -> str:
    """The text of summary.md.

    Args:
        document: the facts.
        figures: which of `SPARSITY_FIGURE` and `PATIENTS_FIGURE` exist.
    """
    sections = [
        f"# {document.title}",
        f"**{NOTICE}**",
        _headline(document),
        *(f"**Warning:** {warning}" for warning in document.warnings),
        *(f"Note: {note}" for note in document.notes),
        "## What pruning cost",
        _cost(document),
        _outcomes(document),
        "## Dense and pruned on unseen patients",
        _score_table(document),
        _paired(document),
        "## Sparsity against Dice",
        _ladder_table(document.ladder),
        _ladder_note(document),
        *([f"![Dice against sparsity]({SPARSITY_FIGURE.as_posix()})"] if SPARSITY_FIGURE in figures else []),
        *([f"![Best, median and worst patient]({PATIENTS_FIGURE.as_posix()})"] if PATIENTS_FIGURE in figures else []),
        *_export(document),
        "## Patients, network, training",
        _background(document),
        "## What the numbers mean",
        _definitions(document),
        "## Provenance",
        _provenance(document),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


_REPAIR_NOTES = {
    "reestimate_statistics": "batch-norm statistics measured anew on training slices after pruning, no weight changed",
    "match_variance": "every channel's mean and spread on training slices set back to what they were in the dense"
    " network, by one factor and one offset a channel",
    "reconstruct": "the surviving weights of every layer refitted by least squares, so that on training slices the"
    " layer's output is again as near as it can be to that of the dense network; no training",
    "tune_biases": "biases and normalisation parameters alone trained for a moment on training slices, no kernel"
    " changed",
}


def _ladder_note(document: SummaryDocument) -> str:
    text = (
        "Dice per patient (mean) and of all pixels together, each network at its own threshold; in brackets the "
        "interval."
    )
    for name in _repair_of(document.ladder):
        words = repair_in_words([name])
        text += f" {words[0].upper()}{words[1:]}: {_REPAIR_NOTES[name]}."
    if document.pruned.retrained_epochs:
        text += f" Every rung is one-shot; only {document.pruned.name}, above, was retrained."
    return text


def _repair_of(ladder: Sequence[LadderRow]) -> tuple[str, ...]:
    return next((row.repair for row in ladder if row.repair), ())


def _headline(document: SummaryDocument) -> str:
    pruned, dense, verdict = document.pruned, document.dense, document.verdict
    manner = "in one shot"
    if pruned.retrained_epochs:
        manner = f"and {_epochs(pruned.retrained_epochs)} of training with the mask held ({RETRAINED})"
    text = (
        f"With {_percent(pruned.sparsity_prunable)} of its prunable weights removed {manner}, the network reaches a "
        f"Dice per patient of {with_interval(pruned.scores['dice_patient'])} on "
        f"{_patients(document.data.n_test, 'unseen ')}; dense it reaches "
        f"{with_interval(dense.scores['dice_patient'])}. "
        f"Is it non-inferior, at the margin of {margin_words(verdict.margin)}? **{verdict.short}.** {verdict.sentence}"
    )
    if document.export is not None:
        text += (
            f" The exported file is {document.export.times_smaller:.1f} times smaller than the dense one "
            f"({_megabytes(document.export.n_bytes)} for {_megabytes(document.export.dense_bytes)})."
        )
    return text


def _cost(document: SummaryDocument) -> str:
    rows = [
        [f"**{cell}**" if row.loud else cell for cell in (row.label, row.dense, row.pruned)]
        for row in cost_rows(document.cost, document.worst_disturbance)
    ]
    return _table(["", document.dense.name, document.pruned.name], rows)


def _outcomes(document: SummaryDocument) -> str:
    """Whose outcome changed beyond the bounds; the worst patients with what changed."""
    flips, bounds, missing = document.flips, document.outcome_bounds, document.not_compared
    if not flips:
        return unchanged_sentence(bounds, not_compared=missing)
    shown = [f"- {flip.patient_id}: {'; '.join(map(jump_words, flip.jumps))}" for flip in flips[:_MOST_PATIENTS]]
    more = len(flips) - len(shown)
    if more:
        shown.append(f"- and {_patients(more)} more; all are in the report")
    within = bounds_words(bounds, not_compared=missing)
    return (
        f"The outcome of {_patients(len(flips))} changed beyond these bounds: {within}."
        f"{not_compared_sentence(missing)} From dense to pruned, the worst first:\n\n" + "\n".join(shown)
    )


def _score_table(document: SummaryDocument) -> str:
    networks = (document.dense, document.pruned)
    rows = [
        [label, *(with_interval(network.scores[name], digits) for network in networks)]
        for label, name, digits in _SCORE_ROWS
        if all(name in network.scores for network in networks)
    ]
    rows.append(["Sparsity, of prunable weights", *(_percent(network.sparsity_prunable) for network in networks)])
    rows.append(["Sparsity, of all parameters", *(_percent(network.sparsity_all) for network in networks)])
    rows.append(["Threshold", *(f"{network.threshold:.2f}" for network in networks)])
    return _table(["", *(_network_name(network) for network in networks)], rows)


def _network_name(network: NetworkSummary) -> str:
    parts = [network.name, *([repair_in_words(network.repair)] if network.repair else [])]
    return ", ".join([*parts, *([RETRAINED] if network.retrained_epochs else [])])


def _paired(document: SummaryDocument) -> str:
    paired = document.paired
    interval = paired.interval
    bounds = f" ({_signed(interval.low)} to {_signed(interval.high)})" if interval else ""
    text = (
        f"Pruned minus dense on the same {_patients(paired.n_patients)}: mean difference of Dice "
        f"{_signed(paired.mean_difference)}{bounds}; Wilcoxon signed-rank p = {_number(paired.wilcoxon_p, 3)}; "
        f"worse by more than {paired.worse_by:g}: {paired.n_worse}, better: {paired.n_better}."
    )
    worst = document.pairs[0] if document.pairs else None
    if worst is not None and worst.difference < 0:
        text += f" Largest loss: {worst.patient_id}, {_number(worst.dense, 3)} to {_number(worst.pruned, 3)}."
    if paired.n_flipped:
        text += f" In {_patients(paired.n_flipped)} without tumour one of the two raised a false alarm alone."
    if document.dense.n_both_empty or document.pruned.n_both_empty:
        text += (
            f" Without a Dice, since there was nothing to find and nothing was found: {document.dense.n_both_empty} "
            f"(dense), {document.pruned.n_both_empty} (pruned)."
        )
    return text


def _ladder_table(ladder: Sequence[LadderRow]) -> str:
    by_rung = {(row.sparsity, row.repair): row for row in ladder}
    repairs = sorted({row.repair for row in ladder}, key=bool)
    rows = []
    for sparsity in sorted({row.sparsity for row in ladder}):
        rungs = [by_rung.get((sparsity, repair)) for repair in repairs]
        cells = [with_interval(row.dice_patient) if row else "-" for row in rungs]
        cells += [_number(row.f1_pooled.value, 3) if row else "-" for row in rungs]
        rows.append([_percent(sparsity), *cells])
    header = [f"`{score}`, {repair_in_words(repair)}" for score in ("dice_patient", "f1_pooled") for repair in repairs]
    return _table(["Sparsity", *header], rows)


def _export(document: SummaryDocument) -> Iterable[str]:
    export = document.export
    if export is None:
        return
    yield "## The exported file"
    yield (
        f"`{export.file}` runs in stock ONNX Runtime. Compared with PyTorch on {export.n_slices} slices of test "
        f"patients: largest logit difference {export.logit_difference:.1e} (allowed {export.logit_tolerance:.0e}), "
        f"largest Dice difference {export.dice_difference:.1e} (allowed {export.dice_tolerance:.0e})."
    )


def _background(document: SummaryDocument) -> str:
    data, model, training = document.data, document.model, document.training
    parts = (("train", data.n_train), ("validation", data.n_validation), ("test", data.n_test))
    counts = []
    for part, n_patients in parts:
        institutions = data.institutions.get(part, {})
        spread = ", ".join(f"{name} {count}" for name, count in sorted(institutions.items()))
        counts.append(f"{part} {n_patients}" + (f" ({spread})" if spread else ""))
    where = "on validation patients" if document.threshold_source == "validation" else "in the configuration"
    lines = [
        f"Data: {data.source}. Patients: {'; '.join(counts)}. No patient is in two of them ({data.split_method}, split "
        f"`{data.split_hash[:12]}`).",
        f"Network: {model.name}, {model.features} features, {model.n_all:,} parameters of which {model.n_prunable:,} "
        f"prunable, input {model.grid[0]}x{model.grid[1]}.",
        f"Training: {training.optimizer}, peak learning rate {training.learning_rate:g}, regularizer "
        f"{training.regularizer}" + (f" at {training.strength:g}" if training.regularizer != "none" else "") + "; "
        f"{training.epochs} epochs in {_duration(training.seconds)}, epoch {training.best_epoch} kept "
        f"(validation Dice {_number(training.best_dice, 3)}).",
        f"Thresholds were set {where}, for each network by itself; test patients decided nothing.",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _definitions(document: SummaryDocument) -> str:
    intervals = _intervals(document)
    return (
        "Dice = 2 tp / (2 tp + fp + fn), equal to F1. Every patient is one volume, scored on the grid of its own "
        "files. Nothing to find and nothing found: no score, counted apart. A false alarm or a missed tumour: Dice 0, "
        "and the diagonal of the volume as HD95, the larger of the two directed 95th percentiles of surface distance. "
        "Surfaces are weighed by area. Distances are in three dimensions and in pixels of the slice; files without a "
        f"spacing count one slice as one pixel. {intervals}Sparsity: share of weights that are exactly zero."
    )


def _intervals(document: SummaryDocument) -> str:
    """Level and method of the intervals in the table of scores, and what has none."""
    by_method: dict[str, list[str]] = {}
    levels = set()
    for label, name, _ in _SCORE_ROWS:
        for score in (document.dense.scores.get(name), document.pruned.scores.get(name)):
            if score is not None and score.method != "none" and label not in by_method.setdefault(score.method, []):
                by_method[score.method].append(label)
            if score is not None and score.confidence is not None:
                levels.add(_percent(score.confidence))
    why = [
        f"{method.removeprefix('none: ')}: no interval of {_listed(labels)}"
        for method, labels in by_method.items()
        if method.startswith("none: ")
    ]
    used = [
        f"{method} for {_listed(labels)}" for method, labels in by_method.items() if not method.startswith("none: ")
    ]
    lines = (
        [f"In brackets: {' and '.join(sorted(levels))} intervals over patients; {'; '.join(used)}. "] if used else []
    )
    return "".join([*lines, *(f"{reason[0].upper()}{reason[1:]}. " for reason in why)])


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def _provenance(document: SummaryDocument) -> str:
    made = document.provenance
    versions = ", ".join(f"{name} {version}" for name, version in made.get("versions", {}).items())
    lines = [
        f"Seed {made.get('seed')}, commit {made.get('commit') or 'unknown'}, Python {made.get('python')}, "
        f"{made.get('platform')}, {made.get('processor')}.",
        f"{versions}.",
    ]
    if document.command:
        lines.append(f"Made by `{document.command}`.")
    return "\n".join(f"- {line}" for line in lines)


def with_interval(score: Score, digits: int = 3) -> str:
    """A score as text: "0.812 (0.760 to 0.851)", or "-" where it does not exist."""
    if score.low is None or score.high is None:
        return _number(score.value, digits)
    return f"{_number(score.value, digits)} ({_number(score.low, digits)} to {_number(score.high, digits)})"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    ruler = ["---", *["--:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, ruler, *rows))


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None or value != value else f"{value:.{digits}f}"


def _signed(value: float | None) -> str:
    if value is None or value != value:
        return "-"
    text = f"{value:+.3f}"
    return text[1:] if float(text) == 0 else text  # a value that rounds to zero has no sign, as on the page


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"


def _megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.2f} MB"


def _patients(count: int, kind: str = "") -> str:
    return f"{count} {kind}patient" + ("" if count == 1 else "s")


def _epochs(count: int) -> str:
    return f"{count} epoch" + ("" if count == 1 else "s")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
