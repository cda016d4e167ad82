"""From a configuration to a network: an explicit table."""

import contextlib
import difflib
from collections.abc import Callable, Iterator
from urllib.error import URLError

import segmentation_models_pytorch as smp
import torch
from monai.networks.nets import BasicUNet, UNet
from monai.networks.nets.basic_unet import UpCat

from wcr_med.config import ModelConfig
from wcr_med.errors import UserError
from wcr_med.models.buda import BudaUNet
from wcr_med.models.padded import LibraryNetwork, PaddedNetwork

_LEVELS = 4  # of the MONAI networks, as in the Buda U-Net


def build_model(config: ModelConfig, *, seed: int | None = None) -> PaddedNetwork:
    """Make a network with fresh weights, in training mode, on the CPU.

    Args:
        config: architecture and width.
        seed: makes the weights a pure function of configuration and seed, and leaves torch's own generator untouched;
            `None` draws from torch's generator.

    Returns:
        A module from images float32 (N, in_channels, h, w) of any size to logits (N, 1, h, w).

    Raises:
        UserError: the encoder is unknown, cannot be built, or its pre-trained weights cannot be had.
    """
    with _seeded(seed):
        return _BUILDERS[config.name](config)


def _buda_unet(config: ModelConfig) -> PaddedNetwork:
    return BudaUNet(config.in_channels, config.features)


def _monai_unet(config: ModelConfig) -> PaddedNetwork:
    network = UNet(
        spatial_dims=2,
        in_channels=config.in_channels,
        out_channels=1,
        channels=[config.features << level for level in range(_LEVELS + 1)],
        strides=[2] * _LEVELS,
        num_res_units=2,
        norm="batch",
    )
    return LibraryNetwork(network, size_multiple=2**_LEVELS)


def _basic_unet(config: ModelConfig) -> PaddedNetwork:
    network = BasicUNet(
        spatial_dims=2,
        in_channels=config.in_channels,
        out_channels=1,
        features=[*(config.features << level for level in range(_LEVELS + 1)), config.features],
        norm="batch",
    )
    for module in network.modules():
        if isinstance(module, UpCat):
            module.is_pad = False  # sizes always fit here, and padding by nothing would stay in an exported graph
    return LibraryNetwork(network, size_multiple=2**_LEVELS)


def _smp_unet(config: ModelConfig) -> PaddedNetwork:
    known = smp.encoders.get_encoder_names()
    if config.encoder not in known and not config.encoder.startswith("tu-"):
        near = difflib.get_close_matches(config.encoder, known, n=1, cutoff=0)
        raise UserError(f"model.encoder: {config.encoder!r} is not an encoder; did you mean {near[0]}?")
    try:
        network = smp.Unet(
            encoder_name=config.encoder,
            encoder_weights=config.encoder_weights,
            decoder_channels=[config.features << level for level in reversed(range(5))],
            in_channels=config.in_channels,
            classes=1,
        )
    except (URLError, OSError) as error:
        raise UserError(
            f"model.encoder_weights: {config.encoder_weights!r} could not be downloaded ({error}); "
            "connect to the network, or set it to null"
        ) from None
    except (KeyError, ValueError, RuntimeError, AssertionError) as error:
        raise UserError(
            f"model.encoder: {config.encoder!r} with weights {config.encoder_weights!r} and {config.in_channels} input "
            f"channels cannot be built ({error}); choose another encoder, or encoder_weights null"
        ) from None
    return LibraryNetwork(network, size_multiple=network.encoder.output_stride)


_BUILDERS: dict[str, Callable[[ModelConfig], PaddedNetwork]] = {
    "buda_unet": _buda_unet,
    "monai_unet": _monai_unet,
    "basic_unet": _basic_unet,
    "smp_unet": _smp_unet,
}


@contextlib.contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
