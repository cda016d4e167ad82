import numpy as np
import pytest
import torch
from torch import nn

from wcr_med.errors import UserError
from wcr_med.evaluation import torch_predictor
from wcr_med.preprocess import PreprocessSettings, binarise, normalise, predict_volume

SETTINGS = PreprocessSettings(height=16, width=16, crop="none")


class SecondChannel(nn.Module):
    """Logit = half of channel 1; counts what it is given."""

    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.5)
        self.seen = []

    def forward(self, image):
        self.seen.append((tuple(image.shape), image.dtype, torch.is_grad_enabled()))
        return self.drop(0.5 * image[:, 1:2])


@pytest.fixture(name="volume_SHWC")
def make_volume():
    return np.random.default_rng(0).integers(0, 255, (5, 20, 24, 3), dtype=np.uint8)


def test_equals_the_same_arithmetic_in_numpy(volume_SHWC):
    def forward(image_Schw, centre_C, spread_C):
        return 1 / (1 + np.exp(-0.5 * normalise(image_Schw, centre_C, spread_C)[:, 1]))

    expected = predict_volume(volume_SHWC, SETTINGS, forward)
    found = torch_predictor(SecondChannel(), SETTINGS, batch_size=2)(volume_SHWC)
    assert (found.shape, found.dtype) == ((5, 20, 24), np.float32)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_runs_in_evaluation_mode_in_batches_and_restores_training(volume_SHWC):
    model = SecondChannel().train()
    predict = torch_predictor(model, SETTINGS, batch_size=2)
    np.testing.assert_array_equal(predict(volume_SHWC), predict(volume_SHWC))
    assert model.training
    assert [shape[0] for shape, _, _ in model.seen[:3]] == [2, 2, 1]
    assert not any(grad for _, _, grad in model.seen)
    assert {dtype for _, dtype, _ in model.seen} == {torch.float32}


def test_a_network_that_answers_nan_is_an_error(volume_SHWC):
    class Broken(nn.Module):
        def forward(self, image):
            return image[:, :1] * float("nan")

    model = Broken().train()
    with pytest.raises(UserError, match="NaN"):
        torch_predictor(model, SETTINGS)(volume_SHWC)
    assert model.training


def test_a_tie_is_foreground_in_single_precision():
    probability = np.array([0.36999997, 0.37, 0.37000003], dtype=np.float32)
    mask = binarise(probability, 0.37)
    assert mask.dtype == np.uint8
    assert mask.tolist() == [0, 1, 1]
