"""What the figures of a report cannot tell."""

import math

from wcr_med.report.analysis.document import Analysis
from wcr_med.report.clinical.formats import counted, percent
from wcr_med.report.clinical.inputs import ReportInputs


def limitations(inputs: ReportInputs, analysis: Analysis) -> tuple[str, ...]:
    """What the figures cannot tell, from the facts of this run."""
    sentences = [
        "Research software: no part of this evaluation replaces a clinical study, and nothing here is validated for use"
        " on patients."
    ]
    if inputs.phantom:
        sentences.append("All images are made up. The figures test the software; they say nothing about patients.")
    alone = len(inputs.partitions) == 1
    if inputs.design == "leave-one-institution-out":
        sentences.append(
            f"{'The institution' if alone else 'Every institution'} was tested by a network that saw none of its"
            " patients, but all of them belong to one data set, drawn up in one way."
        )
    else:
        sentences.append(
            "Test patients come from the same data set as training patients. On other scanners, protocols and"
            " populations the figures may be lower."
        )
    sentences.append(
        f"{counted(analysis.n_patients, 'test patient')}: rare failures may not be among them, and subgroups are small."
    )
    sentences.append(
        "Intervals tell how the figures vary over patients. They do not hold the variation from training again"
        " with another seed."
    )
    if not alone:
        sentences.append(
            f"The figures are of {len(inputs.partitions)} networks together, one for each partition, and of no single"
            " one. Intervals take patients as independent, though networks share training patients."
        )
    if any(math.isnan(row.pixel_mm) for row in inputs.dense.result.rows):
        sentences.append(
            "The images do not tell their spacing, so distances are in pixels, with one slice as one pixel, and"
            " volumes in voxels."
        )
    if not inputs.card.annotator_agreement:
        sentences.append(
            "How well human readers agree on these images is not stated, so a Dice cannot be set against what"
            " people reach."
        )
    if not inputs.robustness:
        sentences.append("Robustness to disturbed images was not measured.")
    unmeasured = "" if any(analysis.deployment.values()) else "; no exported file was measured"
    sentences.append(f"Scores are of the networks in PyTorch{unmeasured}.")
    planned = analysis.statistics.plan.status == "planned"
    sentences.append(
        "Many comparisons are made; "
        + (
            "only the verdict of non-inferiority was planned before training."
            if planned
            else "none is shown to have been planned before training."
        )
    )
    one_in = max(2, round(analysis.n_patients / 3))
    unseen = (1 - 1 / one_in) ** analysis.n_patients
    sentences.append(
        f"A loss that no test patient shows cannot be excluded: one that hits one patient in {one_in} is absent from"
        f" {counted(analysis.n_patients, 'patient')} with a probability of {percent(unseen, 0)}."
    )
    return tuple(sentences)
