"""What every network must do, whichever it is."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from wcr_med.artefacts import ModelArtefact, load_model, save_model
from wcr_med.config import ExportConfig, ModelConfig
from wcr_med.export import export_model
from wcr_med.models import PaddedNetwork, build_model, prunable_parameters, sparsity
from wcr_med.preprocess import PreprocessSettings
from wcr_med.pruning import make_mask, n_to_prune, prune_, reestimate_statistics_
from wcr_med.regularizers import L1, WCR, HoyerSquare, Regularizer
from wcr_med.runtime import Segmenter
from wcr_med.volumes import Volume

CONFIGS = {
    "buda_unet": ModelConfig(name="buda_unet", features=4),
    "buda_unet_one_channel": ModelConfig(name="buda_unet", features=3, in_channels=1),
    "monai_unet": ModelConfig(name="monai_unet", features=4),
    "basic_unet": ModelConfig(name="basic_unet", features=4),
    "smp_unet": ModelConfig(name="smp_unet", features=4, encoder="tu-mobilenetv3_small_050"),
}


@pytest.fixture(params=list(CONFIGS))
def config(request: pytest.FixtureRequest) -> ModelConfig:
    return CONFIGS[request.param]


@pytest.fixture
def model(config: ModelConfig) -> PaddedNetwork:
    return build_model(config, seed=0)


def volume(config: ModelConfig) -> Volume:
    image_SHWC = np.random.default_rng(0).integers(1, 255, (3, 40, 40, config.in_channels)).astype(np.uint8)
    mask_SHW = (image_SHWC[..., 0] > 200).astype(np.uint8)
    names = ("1", "2", "3")
    return Volume(patient_id="C", image_SHWC=image_SHWC, mask_SHW=mask_SHW, spacing_mm=None, names=names, nifti=None)


def images(config: ModelConfig, height: int = 64, width: int = 64, n: int = 2) -> torch.Tensor:
    return torch.randn(n, config.in_channels, height, width, generator=torch.Generator().manual_seed(1))


def test_gives_one_logit_a_pixel_in_both_modes(config: ModelConfig, model: PaddedNetwork) -> None:
    for mode in (True, False):
        logits = model.train(mode)(images(config))
        assert logits.shape == (2, 1, 64, 64)
        assert bool(torch.isfinite(logits).all())
        assert float(logits.detach().std()) > 0


@pytest.mark.parametrize("size", [(1, 1), (63, 65), (33, 64), (100, 17)])
def test_takes_any_size(config: ModelConfig, model: PaddedNetwork, size: tuple[int, int]) -> None:
    image = images(config, *size)
    model.eval()
    with torch.no_grad():
        logits = model(image)
        height, width = (-extent % model.size_multiple for extent in size)
        padded = model.forward_aligned(F.pad(image, (0, width, 0, height), mode="replicate"))
    assert logits.shape == (2, 1, *size)
    assert torch.equal(logits, padded[..., : size[0], : size[1]])


def test_an_image_does_not_depend_on_its_neighbours_in_evaluation(config: ModelConfig, model: PaddedNetwork) -> None:
    image = images(config)
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(model(image)[:1], model(image[:1]), rtol=1e-4, atol=1e-3)


def test_a_seed_decides_the_weights_and_leaves_the_generator_alone(config: ModelConfig, model: PaddedNetwork) -> None:
    before = torch.get_rng_state()
    again, other = build_model(config, seed=0), build_model(config, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    state = model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in again.state_dict().items())
    assert not all(torch.equal(value, state[name]) for name, value in other.state_dict().items())


def test_every_kernel_is_prunable_and_nothing_else(model: PaddedNetwork) -> None:
    prunable = prunable_parameters(model)
    parameters = dict(model.named_parameters())
    assert all(parameters[name] is kernel for name, kernel in prunable.items())
    assert set(prunable) == {name for name, value in parameters.items() if value.dim() >= 2}


@pytest.mark.parametrize("score", ["global_magnitude", "layer_magnitude", "lamp"])
@pytest.mark.parametrize("target", [0.0, 0.5, 0.98])
def test_prunes_exactly_k(config: ModelConfig, score: str, target: float) -> None:
    model = build_model(config, seed=0)
    others = {
        name: value.clone() for name, value in model.state_dict().items() if name not in prunable_parameters(model)
    }
    result = prune_(model, make_mask(model, score, target))
    assert result.n_removed == n_to_prune(target, result.report.n_prunable)
    assert sparsity(model).n_prunable_zero == result.n_removed
    assert all(torch.equal(model.state_dict()[name], value) for name, value in others.items())
    assert bool(torch.isfinite(model(images(config))).all())


@pytest.mark.parametrize("regularizer", [WCR(), L1(), HoyerSquare()], ids=lambda regularizer: regularizer.name)
def test_the_regularizer_reaches_every_prunable_kernel_and_nothing_else(
    model: PaddedNetwork, regularizer: Regularizer
) -> None:
    kernels = prunable_parameters(model)
    regularizer.add_gradient_(kernels, 1.0)
    for name, parameter in model.named_parameters():
        if name in kernels:
            assert parameter.grad is not None
            assert bool(parameter.grad.any()), name
            assert bool(torch.isfinite(parameter.grad).all()), name
        else:
            assert parameter.grad is None, name


def test_the_loss_reaches_every_prunable_kernel(config: ModelConfig, model: PaddedNetwork) -> None:
    model(images(config)).square().mean().backward()
    for name, kernel in prunable_parameters(model).items():
        assert kernel.grad is not None, name
        assert bool(kernel.grad.any()), name


def test_saves_and_loads_bit_for_bit(config: ModelConfig, model: PaddedNetwork, tmp_path: Path) -> None:
    model.to(memory_format=torch.channels_last)
    model(images(config))  # moves the running statistics
    artefact = ModelArtefact(
        model_config=config.model_dump(mode="json"),
        preprocess=PreprocessSettings().to_dict(),
        split_hash="0" * 64,
        trained_on=("A",),
        validated_on=("B",),
    )
    save_model(tmp_path / "network.safetensors", model, artefact)
    loaded, read = load_model(tmp_path / "network.safetensors")
    assert read == artefact
    assert not loaded.training
    assert list(loaded.state_dict()) == list(model.state_dict())
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in loaded.state_dict().items())


@pytest.mark.parametrize("size", [32, 40])  # 40 is no multiple of what the networks need: they pad
def test_a_pruned_one_exports_and_answers_as_pytorch_does(
    config: ModelConfig, model: PaddedNetwork, tmp_path: Path, size: int
) -> None:
    prune_(model, make_mask(model, "global_magnitude", 0.9))
    reestimate_statistics_(model, [images(config)])
    artefact = ModelArtefact(
        model_config=config.model_dump(mode="json"),
        preprocess=PreprocessSettings(height=size, width=size).to_dict(),
        split_hash="0" * 64,
        trained_on=("A",),
        validated_on=("B",),
        threshold=0.5,
    )
    result = export_model(
        model.eval(), artefact, ExportConfig(), parity_volumes=[volume(config)], out_path=tmp_path / "network.onnx"
    )
    assert result.parity.n_slices == 3
    assert result.batch_norms_kept == {}
    assert result.size_bytes < result.dense_size_bytes
    assert Segmenter.from_file(result.path).mask(volume(config).image_SHWC).shape == (3, 40, 40)


def test_statistics_are_reestimated_in_every_batch_norm(config: ModelConfig, model: PaddedNetwork) -> None:
    weights = {name: value.detach().clone() for name, value in model.named_parameters()}
    norms = {name: module for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    seen: dict[nn.Module, torch.Tensor] = {}
    for norm in norms.values():
        norm.register_forward_pre_hook(lambda module, inputs: seen.update({module: inputs[0]}))
    report = reestimate_statistics_(model, [images(config)])
    assert report["n_layers"] == len(norms) > 0
    assert report["n_images"] == 2
    for name, norm in norms.items():
        assert norm.running_mean is not None
        torch.testing.assert_close(norm.running_mean, seen[norm].mean((0, 2, 3)), rtol=1e-4, atol=1e-5, msg=name)
    assert all(torch.equal(value, weights[name]) for name, value in model.named_parameters())
    assert model.training
