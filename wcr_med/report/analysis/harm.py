"""Whether pruning harmed one group of an attribute more than the other patients.

Shape suffixes: P patients, G groups, R permutations.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from wcr_med.report.analysis.comparison_records import HarmTest
from wcr_med.report.analysis.settings import Settings

Array = npt.NDArray[Any]

_BATCH = 500  # permutations at a time


def harm_test(
    difference_P: Array, group_P: Sequence[str], tested: Sequence[str], settings: Settings
) -> HarmTest | None:
    """Permute the labels of patients; compare the largest harm of a group with what labels without meaning give.

    The harm of a group is the mean difference of all other patients minus its own, in standard errors of such a
    contrast: s * sqrt(1 / n_group + 1 / n_others), s the standard deviation of all differences. In this unit groups of
    different size compete fairly. The statistic is the largest over the tested groups, and so is that of every
    permutation (maxT, Westfall and Young 1993), so that its p-value accounts for the groups within the attribute.

    Args:
        difference_P: pruned minus dense Dice, finite; negative is worse.
        group_P: the group of each patient.
        tested: groups that can be the worst; the patients of all others belong to "the others" alone.
        settings: permutations and seed.

    Returns:
        `None` where no group is to be tested. `p_holm` is `p` and `harmed` false until the caller adjusts over
        attributes.

    Raises:
        ValueError: a tested group is empty, or leaves fewer than two others.
    """
    names = list(dict.fromkeys(tested))
    sizes = {name: list(group_P).count(name) for name in names}
    if not names:
        return None
    if min(sizes.values()) < 1 or len(group_P) - max(sizes.values()) < 2:
        raise ValueError(f"of {len(group_P)} patients, a tested group leaves fewer than two others, or is empty")
    member_PG = np.array([[group == name for name in names] for group in group_P], dtype=np.float64)
    statistic_G = _harm(difference_P[None, :], member_PG)[0]
    worst = int(np.argmax(statistic_G))
    observed = float(statistic_G[worst])
    rng = np.random.default_rng(settings.seed)
    as_large, left = 0, settings.permutations
    while left:
        n_drawn = min(left, _BATCH)
        drawn_RP = rng.permuted(np.tile(difference_P, (n_drawn, 1)), axis=1)
        as_large += int(np.count_nonzero(_harm(drawn_RP, member_PG).max(axis=1) >= observed - 1e-9))
        left -= n_drawn
    inside_P = member_PG[:, worst] > 0
    p = (1 + as_large) / (1 + settings.permutations)
    return HarmTest(
        statistic=observed,
        worst_group=names[worst],
        excess_loss=float(difference_P[~inside_P].mean() - difference_P[inside_P].mean()),
        n_patients=len(difference_P),
        n_groups=len(names),
        permutations=settings.permutations,
        seed=settings.seed,
        p=p,
        p_holm=p,
        harmed=False,
    )


def _harm(difference_RP: Array, member_PG: Array) -> Array:
    n_G = member_PG.sum(axis=0)
    n_others_G = len(member_PG) - n_G
    inside_RG = difference_RP @ member_PG
    others_RG = (difference_RP.sum(axis=1, keepdims=True) - inside_RG) / n_others_G
    spread = float(difference_RP[0].std(ddof=1))  # the same for every permutation
    if spread < 1e-12 or math.isnan(spread):
        return np.zeros_like(inside_RG)
    contrast_RG: Array = (others_RG - inside_RG / n_G) / (spread * np.sqrt(1 / n_G + 1 / n_others_G))
    return contrast_RG
