"""The sentences of the report that are made of numbers: its first screen, and what each section says first."""

import math
from collections.abc import Mapping, Sequence

from wcr_med.metrics.uncertainty import FEWEST_PATIENTS, PairedComparison
from wcr_med.report.analysis.document import Analysis, PairedMetric
from wcr_med.report.analysis.estimates import make_score
from wcr_med.report.analysis.verdict import margin_words
from wcr_med.report.clinical.formats import counted, listed, milliseconds, number, p_value, percent, size, span
from wcr_med.report.clinical.inputs import Deployment, Latency, ReportInputs
from wcr_med.report.document import Score


def verdict_question(analysis: Analysis) -> str:
    """What the verdict answers, and when its margin was set, where that can be shown."""
    statistics = analysis.statistics
    set_when = f" set {statistics.plan.set_when}" if statistics.plan.set_when else ""
    return f"Is it non-inferior to the dense network, at the margin of {margin_words(statistics.margin)}{set_when}?"


def design_words(inputs: ReportInputs) -> str:
    """How patients were divided."""
    if inputs.design == "hold-out":
        return "hold-out split by patient"
    if len(inputs.partitions) == 1:
        return f"one partition, by patient ({inputs.partitions[0].name})"
    if inputs.design == "cross-validation":
        return f"{len(inputs.partitions)}-fold cross-validation by patient, out-of-fold predictions pooled"
    return f"leave one institution out, {counted(len(inputs.partitions), 'institution')} in turn"


def whom(inputs: ReportInputs, analysis: Analysis) -> str:
    """Whose images the figures rest on."""
    tested = [
        inputs.attributes[row.patient_id] for row in inputs.dense.result.rows if row.patient_id in inputs.attributes
    ]
    institutions = sorted({patient.institution for patient in tested} - {"unknown"})
    missing = sum(bool(patient.missing_sequences) for patient in tested)
    named = f" ({listed(institutions)})" if 0 < len(institutions) <= 5 else ""
    where = f"of {counted(len(institutions), 'institution')}{named}" if institutions else "of unknown institutions"
    alone = len(inputs.partitions) == 1
    unseen = "never seen in training" if alone else "each scored by a network that never saw it"
    cases = analysis.dense.cases
    empty = cases.n_both_empty + cases.n_false_alarm
    text = f"{where}, {unseen}."
    if missing:
        text += f" {missing} with a missing sequence."
    return text + (f" {empty} without a lesion." if empty else "")


def sure(analysis: Analysis) -> str:
    """What the interval of the headline means."""
    score, level = analysis.pruned.scores["dice_patient"], percent(analysis.statistics.confidence)
    if score.low is None:
        have = "has one" if score.n_patients == 1 else "have one"
        if score.n_patients >= FEWEST_PATIENTS:
            return f"can be given: all {score.n_patients} patients with a Dice have the same one."
        return (
            f"can be given: it takes {FEWEST_PATIENTS} patients with a Dice, and {score.n_patients or 'none'} {have}."
        )
    undefined = analysis.pruned.n_undefined.get("dice_patient", 0)
    text = f"is the {level} interval of the mean Dice over {counted(score.n_patients, 'patient')} ({score.method})."
    return text + (
        f" {counted(undefined, 'patient')} without a Dice: nothing to find, nothing found." if undefined else ""
    )


def cost(paired: PairedComparison) -> str:
    """How many patients changed."""
    by = f"{paired.worse_by:g}"
    text = f"Worse by more than {by}: {counted(paired.n_worse, 'patient')}; better: {paired.n_better}."
    if paired.n_flipped:
        text += (
            f" In {counted(paired.n_flipped, 'patient')} without a lesion one network alone raised a false alarm; the"
            " right answer of the other counts as 1, so the difference is not that of the two means."
        )
    return text


def lesions_found(analysis: Analysis) -> str:
    """How many lesions the pruned network found."""
    lesions = analysis.pruned.lesions
    if not lesions.n_reference:
        return f"No lesion in the reference; it raised {counted(lesions.n_false, 'false one')}."
    ends = span(lesions.sensitivity.low, lesions.sensitivity.high, 2)
    return (
        f"It found {lesions.n_detected} of {counted(lesions.n_reference, 'lesion')} ({ends}) and raised"
        f" {counted(lesions.n_false, 'false one')}."
    )


def deployment_answer(analysis: Analysis) -> tuple[str, str]:
    """Size and speed of the exported file: the figure, and the sentence after it."""
    files = analysis.deployment.get(analysis.primary, ())
    if not files:
        return "Not measured", "No file was exported."
    best, single = _fastest(files)
    against = f", {best.dense_bytes / best.size_bytes:.1f} times smaller than dense" if best.size_bytes else ""
    if single is None:
        return size(best.size_bytes), f"on disk{against}. Its speed was not measured."
    text = f"on disk{against}; {milliseconds(single.p50_ms)} a slice (95th percentile {milliseconds(single.p95_ms)},"
    text += f" {counted(single.n_runs, 'run')}, {counted(single.threads, 'thread')}) on {best.processor}"
    text += ", with the package\u2019s own operators" if best.accelerated else ""
    if dense := analysis.deployment.get(analysis.dense.name, ()):
        reference, its = _fastest(dense)
        if its is not None:
            text += f"; dense {milliseconds(its.p50_ms)}"
            text += " without them" if best.accelerated and not reference.accelerated else ""
            if single.to_dense is not None:
                text += f"; against the dense portable file {single.to_dense.words}"
    return size(best.size_bytes), f"{text}."


def harm_sentence(analysis: Analysis) -> str:
    """Whether a subgroup lost more than the rest, multiplicity accounted for."""
    tested = [entry for entry in analysis.verdict.attributes if entry.harm is not None]
    if not tested:
        return "No attribute has two groups that are large enough, so this cannot be tested."
    harmed = [
        f"{entry.harm.worst_group} ({entry.label})" for entry in analysis.verdict.harmed if entry.harm is not None
    ]
    if harmed:
        return f"Yes: {listed(harmed)} lost more than the other patients, with many comparisons accounted for."
    return (
        f"Not shown: in none of {counted(len(tested), 'attribute')} is a group shown to have lost more than the rest,"
        " with many comparisons accounted for. With few patients a true harm may stay hidden."
    )


def calibration_shift(analysis: Analysis) -> str:
    """How pruning moved the calibration error; empty where there is none."""
    metric: PairedMetric | None = next((entry for entry in analysis.verdict.metrics if entry.name == "ece"), None)
    if metric is None or math.isnan(metric.difference.value):
        return ""
    difference = metric.difference
    moved = {"better": "made it smaller", "worse": "made it larger", "not shown": "did not clearly move it"}[
        metric.shift
    ]
    return (
        f"Pruning {moved}: expected calibration error {number(metric.dense)} dense, {number(metric.pruned)} pruned,"
        f" difference {number(difference.value, signed=True)} ({span(difference.low, difference.high, signed=True)};"
        f" n = {difference.n_patients}; {p_value(metric.p)}, adjusted {p_value(metric.p_holm)})."
    )


def as_score(paired: PairedComparison) -> Score:
    """The mean difference of a paired comparison as a score."""
    return make_score(paired.mean_difference, paired.interval, paired.n_patients)


def threshold_sentence(inputs: ReportInputs) -> str:
    """Where the operating thresholds come from."""
    given = inputs.evaluation.threshold
    if given == "auto":
        return "Thresholds were chosen on validation patients, for each network by itself."
    return f"The threshold of every network was set to {given:g} in the configuration."


def partition_sentence(inputs: ReportInputs) -> str:
    """How the patients were divided, with the names of the parts' purposes."""
    if len(inputs.partitions) == 1:
        return "One split: some patients trained the network, some chose epoch and threshold, the rest tested it."
    folds = counted(len(inputs.partitions), "network")
    if inputs.design == "cross-validation":
        return (
            f"Cross-validation: {folds} were trained, and every patient was tested once, by the one that never saw it."
        )
    return f"Leave one institution out: {folds} were trained, each tested on the institution that it never saw."


def input_words(inputs: ReportInputs) -> str:
    """What goes into the network."""
    configuration = inputs.configuration
    model, grid = configuration.get("model", {}), configuration.get("preprocess", {})
    data = configuration.get("data", {})
    channels = model.get("in_channels")
    text = f"A volume of {counted(channels, 'channel')}" if channels else "A volume"
    patterns = data.get("nifti", {}).get("channels", ())
    if names := data.get("channels"):
        text += f" ({listed(list(names))})"
    elif data.get("format") == "kaggle_3m":
        text += " (pre-contrast T1, FLAIR and post-contrast T1 MR images)"
    elif data.get("format") == "nifti" and isinstance(patterns, Mapping):
        text += f" ({listed([f'{name} from {pattern}' for name, pattern in patterns.items()])})"
    elif data.get("format") == "nifti":
        text += f" (files {listed(list(patterns))})"
    text += ", read slice by slice"
    if grid.get("height") and grid.get("width"):
        text += f" on a grid of {grid['height']} \u00d7 {grid['width']} pixels"
    return text + "; intensities are normalised for each patient."


def page_facts(inputs: ReportInputs, analysis: Analysis) -> Mapping[str, str | bool]:
    """Short facts of the page by name."""
    return {
        "input": input_words(inputs),
        "partition_sentence": partition_sentence(inputs),
        "threshold": threshold_sentence(inputs),
        "has_clinical": any(patient.clinical for patient in inputs.attributes.values()),
        "retrained": any(network.retrained_epochs for network in inputs.networks),
        "design": design_words(inputs),
        "whom": whom(inputs, analysis),
        "sure": sure(analysis),
        "cost": cost(analysis.verdict.paired),
        "verdict_question": verdict_question(analysis),
    }


def _fastest(files: Sequence[Deployment]) -> tuple[Deployment, Latency | None]:
    """The file with the shortest time, of those that were timed; else the first. At least one file is given."""
    timed = [(file, single) for file in files if (single := _single(file)) is not None]
    return min(timed, key=lambda pair: pair[1].p50_ms, default=(files[0], None))


def _single(file: Deployment) -> Latency | None:
    """The latency with the fewest threads."""
    return min(file.latency, key=lambda entry: entry.threads, default=None)
