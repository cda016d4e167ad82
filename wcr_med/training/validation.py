"""Scores of the network in training, by patient, on the network's own grid.

They choose the best epoch and stop the training. They are not the project's results: those come from the evaluation, on
the grid of the files and with a chosen threshold.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from wcr_med.data.cache import SliceCache
from wcr_med.training.distributed import Group
from wcr_med.training.processor import Processor

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class ValidationScores:
    """What `validate` measures.

    Attributes:
        dice_patient: mean of the Dice of each patient; `None` where no patient has a defined one.
        f1_pooled: one count over all pixels of all slices; `None` where there is neither reference nor prediction.
        measured: false for an epoch that was not validated.
    """

    dice_patient: float | None = None
    f1_pooled: float | None = None
    measured: bool = False


@torch.inference_mode()
def validate(
    model: nn.Module,
    cache: SliceCache,
    patient_ids: Sequence[str],
    processor: Processor,
    *,
    batch_size: int,
    threshold: float = 0.5,
    group: Group | None = None,
) -> ValidationScores:
    """Predict all slices of these patients and score them. The model is left in evaluation mode.

    Several processes share the slices out, each predicted once; the counts are added up, so all have the same scores.

    Args:
        model: gives logits_N1hw; on the processor's device.
        cache: holds the patients' slices.
        patient_ids: whom to score; at least one.
        processor: device and precision.
        batch_size: slices a forward pass; slices of two patients may share one.
        threshold: a pixel is foreground where its probability is above this; in (0, 1).
        group: the processes that validate together; `None` for this one alone.
    """
    group = group or Group()
    model.eval()
    least_logit = math.log(threshold / (1 - threshold))
    rows_of = [cache.rows([patient_id]) for patient_id in patient_ids]
    rows = np.concatenate(rows_of)
    owner_N = np.repeat(np.arange(len(rows_of)), [len(own) for own in rows_of])
    counts_N3 = np.zeros((len(rows), 3), dtype=np.int64)
    for start in range(group.rank * batch_size, len(rows), group.world * batch_size):
        batch = rows[start : start + batch_size]
        images_NChw = torch.from_numpy(np.asarray(cache.images_NChw[batch], dtype=np.float32))
        reference_Nhw = torch.from_numpy(np.asarray(cache.masks_Nhw[batch])).to(processor.device) > 0
        with processor.autocast():
            logits_N1hw = model(processor.place(images_NChw))
        counts_N3[start : start + batch_size] = _counts(logits_N1hw[:, 0] > least_logit, reference_Nhw)
    counts_N3 = group.sum_(torch.from_numpy(counts_N3)).numpy()
    counts_P3 = np.zeros((len(patient_ids), 3), dtype=np.int64)
    np.add.at(counts_P3, owner_N, counts_N3)
    return scores_of_counts(counts_P3)


def scores_of_counts(counts_P3: Counts) -> ValidationScores:
    """Both averages from true positives, predicted and reference pixels of each patient.

    A patient without reference and without prediction has no Dice and is left out of the mean; one with a prediction
    but no reference counts as 0.

    Args:
        counts_P3: (patients, 3), non-negative: pixels in both, in the prediction, in the reference.
    """
    overlap_P, size_P = counts_P3[:, 0], counts_P3[:, 1] + counts_P3[:, 2]
    defined_P = size_P > 0
    if not defined_P.any():
        return ValidationScores(measured=True)
    dice_P = 2 * overlap_P[defined_P] / size_P[defined_P]
    return ValidationScores(
        dice_patient=float(dice_P.mean()), f1_pooled=float(2 * overlap_P.sum() / size_P.sum()), measured=True
    )


def _counts(predicted_Nhw: torch.Tensor, reference_Nhw: torch.Tensor) -> Counts:
    both_Nhw = predicted_Nhw & reference_Nhw
    counts_N3 = torch.stack(
        [mask_Nhw.flatten(1).sum(1) for mask_Nhw in (both_Nhw, predicted_Nhw, reference_Nhw)], dim=1
    )
    result: Counts = counts_N3.cpu().numpy()
    return result
