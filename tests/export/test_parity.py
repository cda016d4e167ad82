import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.exported import small_network, small_volume
from wcr_med.errors import UserError
from wcr_med.export import ExportResult, ParityReport, parity
from wcr_med.export.parity import choose_slices
from wcr_med.export.storage import Values
from wcr_med.volumes import Volume
from wcr_med.volumes.kaggle import read_kaggle_patient


def compare(model: nn.Module, exported: ExportResult, volumes: list[Volume], n_slices: int = 64) -> ParityReport:
    settings = exported.metadata.preprocess
    return parity(model, exported.path, volumes, settings=settings, threshold=0.5, n_slices=n_slices)


def test_the_same_network_agrees(network: nn.Module, exported: ExportResult) -> None:
    report = compare(network, exported, [small_volume(seed=3), small_volume(seed=4, mask=False)])
    assert 0 <= report.largest_logit_difference < 1e-3
    assert report.largest_dice_difference < 0.01
    assert (report.n_slices, report.n_patients, report.n_voxels) == (12, 2, 12 * 40 * 40)
    report.require(logit_tolerance=1e-3, dice_tolerance=0.01)


def test_another_network_differs(exported: ExportResult) -> None:
    other = small_network(seed=5)
    for volume in (small_volume(), small_volume(mask=False)):
        report = compare(other, exported, [volume])
        assert report.largest_logit_difference > 0.1
        assert report.largest_dice_difference > 0.01
        assert report.n_differing_voxels > 0
        with pytest.raises(UserError, match="logits by"):
            report.require(logit_tolerance=1e-3, dice_tolerance=1.0)
        with pytest.raises(UserError, match="Dice by"):
            report.require(logit_tolerance=1e9, dice_tolerance=1e-4)


def test_the_largest_logit_difference_is_measured(network: nn.Module, exported: ExportResult) -> None:
    class Shifted(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            logits = network(image)
            assert isinstance(logits, torch.Tensor)
            return logits + 0.25

    report = compare(Shifted(), exported, [small_volume()])
    assert report.largest_logit_difference == pytest.approx(0.25, abs=1e-3)


def test_what_is_not_a_number_fails(exported: ExportResult) -> None:
    class Broken(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image[:, :1] * float("nan")

    report = compare(Broken(), exported, [small_volume(), small_volume(seed=1)])
    assert np.isnan(report.largest_logit_difference)
    with pytest.raises(UserError, match="nan"):
        report.require(logit_tolerance=1e9, dice_tolerance=1.0)


def report_of(**changes: float) -> ParityReport:
    fields: dict[str, Any] = {
        "largest_logit_difference": 0.5,
        "logit_range": 10.0,
        "largest_dice_difference": 0.001,
        "n_differing_voxels": 5,
        "n_voxels": 10_000,
        "n_slices": 4,
        "n_patients": 2,
    }
    return ParityReport(**{**fields, **changes})


def test_rounded_weights_are_judged_by_what_the_network_finds() -> None:
    report = report_of()
    report.require_lossy("int8", dice_tolerance=0.002, voxel_tolerance=0.001)
    assert report.differing_share == report.to_dict()["differing_share"] == 0.0005


@pytest.mark.parametrize(
    ("changes", "values", "message"),
    [
        ({"largest_dice_difference": 0.003}, "int8", "as int8 .* Dice by 0.003.* --values fp16"),
        ({"n_differing_voxels": 11}, "fp16", "as fp16 .* share of voxels by 0.0011.* --values fp32"),
        ({"largest_logit_difference": float("nan")}, "int8", "as int8 .* not finite.* --values fp16"),
        ({"largest_logit_difference": float("inf")}, "fp16", "as fp16 .* not finite.* --values fp32"),
    ],
)
def test_rounding_that_changes_the_network_is_refused(changes: dict[str, float], values: Values, message: str) -> None:
    with pytest.raises(UserError, match=message):
        report_of(**changes).require_lossy(values, dice_tolerance=0.002, voxel_tolerance=0.001)


def test_nothing_found_by_both_is_no_difference() -> None:
    report = ParityReport(
        largest_logit_difference=0.0,
        logit_range=1.0,
        largest_dice_difference=0.0,
        n_differing_voxels=0,
        n_voxels=1,
        n_slices=1,
        n_patients=1,
    )
    report.require(logit_tolerance=1e-9, dice_tolerance=1e-9)
    assert report.to_dict()["n_slices"] == 1


def test_empty_predictions_and_references(network: nn.Module, exported: ExportResult) -> None:
    empty = small_volume()
    assert empty.mask_SHW is not None
    without_lesion = dataclasses.replace(empty, mask_SHW=np.zeros_like(empty.mask_SHW))
    settings = exported.metadata.preprocess
    for volume in (without_lesion, small_volume(mask=False)):
        # No probability reaches the threshold, so both predictions are empty.
        report = parity(network, exported.path, [volume], settings=settings, threshold=1.1)
        assert report.largest_dice_difference == 0
    silent = nn.Conv2d(3, 1, 1)
    nn.init.zeros_(silent.weight)
    nn.init.constant_(silent.bias, -9.0)
    report = compare(silent, exported, [without_lesion])
    assert report.largest_dice_difference == 1.0  # NaN against 0


def test_reads_no_more_volumes_than_needed(network: nn.Module, exported: ExportResult) -> None:
    read = []

    def volumes() -> Iterator[Volume]:
        for seed in range(5):
            read.append(seed)
            yield small_volume(seed=seed, n_slices=20)

    settings = exported.metadata.preprocess
    report = parity(network, exported.path, volumes(), settings=settings, threshold=0.5, n_slices=13)
    assert (report.n_slices, report.n_patients, read) == (13, 2, [0, 1])


def test_no_volumes(network: nn.Module, exported: ExportResult) -> None:
    with pytest.raises(UserError, match="no volumes"):
        compare(network, exported, [])


def test_slices_are_spread_and_half_of_them_hold_lesion() -> None:
    volume = small_volume(n_slices=20, mask=False)
    assert choose_slices(volume, 3).tolist() == [0, 10, 19]
    assert choose_slices(volume, 50).tolist() == list(range(20))
    mask_SHW = np.zeros((20, 40, 40), np.uint8)
    mask_SHW[4:7] = 1
    chosen = choose_slices(dataclasses.replace(volume, mask_SHW=mask_SHW), 8)
    assert set(range(4, 7)) <= set(chosen.tolist())
    assert len(set(chosen.tolist())) == 8
    assert choose_slices(dataclasses.replace(volume, mask_SHW=mask_SHW), 1)[0] in range(4, 7)


@pytest.mark.lgg
def test_real_slices_agree(network: nn.Module, exported: ExportResult, lgg_root: Path) -> None:
    folders = sorted(path for path in lgg_root.iterdir() if path.is_dir())[:3]
    volumes = [read_kaggle_patient(folder, with_mask=True) for folder in folders]
    report = compare(network, exported, volumes, n_slices=20)
    assert (report.n_slices, report.n_patients) == (20, 3)
    report.require(logit_tolerance=1e-3, dice_tolerance=1e-3)
