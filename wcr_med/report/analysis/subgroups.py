"""Dense and pruned within groups of patients, and whether a group was harmed more than the rest."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from wcr_med.evaluation.rows import PatientRow
from wcr_med.report.analysis.comparison_records import AttributeAnalysis, Subgroup
from wcr_med.report.analysis.estimates import holm, make_score, score_of_mean
from wcr_med.report.analysis.grouping import NOT_STATED, Grouping
from wcr_med.report.analysis.harm import harm_test
from wcr_med.report.analysis.paired import dice_comparison, dice_differences, dice_verdict
from wcr_med.report.analysis.settings import Settings

Rows = Sequence[PatientRow]


def attribute_analyses(
    dense: Rows, pruned: Rows, groupings: Sequence[Grouping], settings: Settings
) -> tuple[AttributeAnalysis, ...]:
    """Subgroups and harm test of every attribute; Holm over the attributes that were tested.

    Args:
        dense: rows of the same patients in the same order as `pruned`.
        pruned: see above.
        groupings: attributes of these patients.
        settings: level, draws, margin, smallest group.
    """
    found = [_analyse(dense, pruned, grouping, settings) for grouping in groupings]
    adjusted = holm([entry.harm.p if entry.harm else math.nan for entry in found])
    return tuple(
        entry
        if entry.harm is None
        else replace(entry, harm=replace(entry.harm, p_holm=p, harmed=p < 1 - settings.confidence))
        for entry, p in zip(found, adjusted, strict=True)
    )


def _analyse(dense: Rows, pruned: Rows, grouping: Grouping, settings: Settings) -> AttributeAnalysis:
    difference_P = dice_differences(dense, pruned)
    group_P = [grouping.group_of[row.patient_id] for row in dense]
    usable_P = np.isfinite(difference_P) & np.array([group != NOT_STATED for group in group_P])
    usable_groups = [group for group, usable in zip(group_P, usable_P, strict=True) if usable]
    tested = [
        group
        for group in grouping.groups
        if group != NOT_STATED
        and usable_groups.count(group) >= settings.min_subgroup
        and len(usable_groups) - usable_groups.count(group) >= 2
    ]
    groups = tuple(
        _subgroup(
            group,
            [row for row, its in zip(dense, group_P, strict=True) if its == group],
            [row for row, its in zip(pruned, group_P, strict=True) if its == group],
            settings,
            tested=group in tested,
        )
        for group in grouping.groups
    )
    harm = harm_test(difference_P[usable_P], usable_groups, tested, settings)
    return AttributeAnalysis(
        attribute=grouping.attribute,
        label=grouping.label,
        groups=groups,
        harm=harm,
        note="" if harm else _why_untested(usable_groups, settings.min_subgroup),
    )


def _subgroup(group: str, dense: Rows, pruned: Rows, settings: Settings, *, tested: bool) -> Subgroup:
    paired = dice_comparison(dense, pruned, settings)
    return Subgroup(
        group=group,
        n_patients=len(dense),
        dense=score_of_mean(np.array([row.dice for row in dense]), settings),
        pruned=score_of_mean(np.array([row.dice for row in pruned]), settings),
        difference=make_score(paired.mean_difference, paired.interval, paired.n_patients),
        verdict=dice_verdict(dense, pruned, settings).status,
        tested=tested,
    )


def _why_untested(usable_groups: Sequence[str], min_subgroup: int) -> str:
    if len(set(usable_groups)) < 2:
        return "All patients are in one group, so there is nothing to compare."
    return f"No group of at least {min_subgroup} patients beside two others, so no test was made."
