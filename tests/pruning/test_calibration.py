import numpy as np
import pytest
import torch

from wcr_med.data.cache import SliceCache
from wcr_med.errors import UserError
from wcr_med.pruning import calibration_slices


def test_slices_are_batches_of_the_balance_that_was_asked_for(slices: SliceCache) -> None:
    rows = slices.rows(["a"])
    batches = list(calibration_slices(slices, rows, n_slices=99, seed=0, other_per_tumour=0.5, batch_size=4))
    assert [len(image_NChw) for image_NChw, _ in batches] == [4, 2]  # four with a square, two without
    assert sum(int(mask_N1hw.amax((1, 2, 3)).sum()) for _, mask_N1hw in batches) == 4
    for image_NChw, mask_N1hw in batches:
        assert (image_NChw.dtype, mask_N1hw.dtype) == (torch.float32, torch.float32)
        assert mask_N1hw.shape == (len(image_NChw), 1, 16, 16)


def test_images_and_masks_belong_together_and_the_seed_decides(slices: SliceCache) -> None:
    def drawn(seed: int) -> list[torch.Tensor]:
        arguments = {"n_slices": 5, "seed": seed, "other_per_tumour": 1.0}
        (batch,) = calibration_slices(slices, np.arange(12), **arguments)
        return list(batch)

    image_NChw, mask_N1hw = drawn(0)
    assert len(image_NChw) == 5
    for image_Chw, mask_1hw in zip(image_NChw, mask_N1hw, strict=True):
        (row,) = [row for row in range(12) if np.array_equal(slices.images_NChw[row], image_Chw.half().numpy())]
        assert np.array_equal(slices.masks_Nhw[row], mask_1hw[0].numpy())
    assert torch.equal(image_NChw, drawn(0)[0])
    assert not torch.equal(image_NChw, drawn(1)[0])


def test_no_rows_is_an_error(slices: SliceCache) -> None:
    with pytest.raises(UserError, match="no slices"):
        list(calibration_slices(slices, np.arange(0), n_slices=5, seed=0, other_per_tumour=1.0))
