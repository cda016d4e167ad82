from urllib.error import URLError

import pytest
import segmentation_models_pytorch as smp
import torch

from wcr_med.config import ModelConfig
from wcr_med.errors import UserError
from wcr_med.models import build_model, prunable_parameters


def test_buda_unet_has_the_published_size() -> None:
    model = build_model(ModelConfig(), seed=0)
    assert sum(parameter.numel() for parameter in model.parameters()) == 7_763_041
    assert len(prunable_parameters(model)) == 23  # 18 in blocks, 4 transposed, 1 head


def test_buda_unet_starts_with_pytorchs_own_variance() -> None:
    for name, kernel in prunable_parameters(build_model(ModelConfig(), seed=0)).items():
        if kernel.dim() == 4 and kernel.numel() > 10_000:
            variance = 1 / (3 * kernel[0].numel())  # uniform in +-1 / sqrt(inputs of an output)
            assert float(kernel.detach().std()) == pytest.approx(variance**0.5, rel=0.05), name


def test_without_a_seed_torchs_generator_decides() -> None:
    torch.manual_seed(3)
    first = build_model(ModelConfig(features=1))
    torch.manual_seed(3)
    second = build_model(ModelConfig(features=1))
    third = build_model(ModelConfig(features=1))
    kernels = [next(iter(prunable_parameters(model).values())) for model in (first, second, third)]
    assert torch.equal(kernels[0], kernels[1])
    assert not torch.equal(kernels[0], kernels[2])


def test_an_unknown_encoder_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"model.encoder: 'resnet81' is not an encoder; did you mean resnet18\?"):
        build_model(ModelConfig(name="smp_unet", encoder="resnet81"))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (URLError("no route"), "encoder_weights: 'imagenet' could not be downloaded"),
        (KeyError("imagenet"), "cannot be built"),
        (ValueError("no such depth"), "cannot be built"),
    ],
)
def test_an_encoder_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch, error: Exception, message: str) -> None:
    def refuse(**_: object) -> None:
        raise error

    monkeypatch.setattr(smp, "Unet", refuse)
    with pytest.raises(UserError, match=message):
        build_model(ModelConfig(name="smp_unet", encoder_weights="imagenet"))
