"""Which epoch is the best, and when patience ends."""

import dataclasses

import pytest

from wcr_med.training.progress import EpochRow, Progress

_ROW = EpochRow(
    epoch=1, loss=1.0, regularizer=None, learning_rate=0.1, weight_norm=1.0, dice_patient=None, f1_pooled=None,
    images_per_second=1.0, seconds=2.0,
)  # fmt: skip


def _run(scores: list[float | None]) -> tuple[Progress, list[bool]]:
    progress = Progress()
    better = [
        progress.note(dataclasses.replace(_ROW, epoch=epoch, dice_patient=score), {}, validated=True)
        for epoch, score in enumerate(scores, start=1)
    ]
    return progress, better


def test_of_equal_epochs_the_earliest_is_the_best() -> None:
    progress, better = _run([0.2, 0.5, 0.5, 0.4, 0.5])
    assert better == [True, True, False, False, False]
    assert (progress.best_epoch, progress.best_dice, progress.validations_without_better) == (2, 0.5, 3)


def test_an_undefined_dice_is_never_better_than_a_defined_one() -> None:
    progress, better = _run([None, None, 0.1, None])
    assert better == [True, False, True, False]
    assert (progress.best_epoch, progress.best_dice) == (3, 0.1)


def test_epochs_without_validation_cost_no_patience() -> None:
    progress, _ = _run([0.3])
    assert not progress.note(dataclasses.replace(_ROW, epoch=2), {}, validated=False)
    assert progress.validations_without_better == 0
    assert progress.epochs_done == 2
    assert progress.seconds == 4.0


def test_goes_through_json() -> None:
    progress, _ = _run([0.2, None])
    assert Progress.from_dict(progress.to_dict()) == progress
    with pytest.raises(TypeError):
        Progress.from_dict({**progress.to_dict(), "unknown": 1})
