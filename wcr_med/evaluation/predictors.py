"""A predictor maps a raw volume to foreground probabilities on the same grid, whatever runs the network behind it."""

from collections.abc import Callable
from typing import Any

import numpy.typing as npt
import torch
from torch import nn

from wcr_med.preprocess import PreprocessSettings, normalise, predict_volume

Array = npt.NDArray[Any]
Predictor = Callable[[Array], Array]
"""image_SHWC, raw intensities in any real dtype -> probability_SHW, float32 in [0, 1]."""


def torch_predictor(
    model: nn.Module, settings: PreprocessSettings, *, batch_size: int = 16, device: torch.device | str = "cpu"
) -> Predictor:
    """A PyTorch network as a predictor, in evaluation mode and full precision.

    The network is moved to `device`. Its training mode is restored after each call.

    Args:
        model: logits (N, 1, h, w) for images (N, C, h, w), float32.
        settings: what the network was trained with.
        batch_size: slices a forward pass.
        device: where it runs.
    """
    device = torch.device(device)
    model = model.to(device)

    def forward(image_Schw: Array, centre_C: Array, spread_C: Array) -> Array:
        images = torch.from_numpy(normalise(image_Schw, centre_C, spread_C)).to(device)
        logits = model(images.contiguous(memory_format=torch.channels_last))
        probability_Shw: Array = torch.sigmoid(logits.float())[:, 0].cpu().numpy()
        return probability_Shw

    def predict(image_SHWC: Array) -> Array:
        was_training = model.training
        model.eval()
        try:
            with torch.inference_mode():
                return predict_volume(image_SHWC, settings, forward, batch_size=batch_size)
        finally:
            model.train(was_training)

    return predict
