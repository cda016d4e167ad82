from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from wcr_med.errors import UserError
from wcr_med.pruning import reestimate_statistics_


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3, momentum=0.3), nn.Dropout(0.5), nn.Conv2d(3, 1, 1))


def batch(seed: int, n: int) -> Tensor:
    return 5 + 2 * torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_one_batch_gives_its_own_statistics(model: nn.Module) -> None:
    image = batch(0, 4)
    report = reestimate_statistics_(model, [image])
    features = model[0](image).detach()
    torch.testing.assert_close(model[1].running_mean, features.mean((0, 2, 3)))
    torch.testing.assert_close(model[1].running_var, features.transpose(0, 1).flatten(1).var(1))
    assert (report["n_layers"], report["n_batches"], report["n_images"]) == (1, 1, 4)
    assert report["largest_shift"] == pytest.approx(float(model[1].running_mean.abs().max()), rel=1e-4)


def test_batches_weigh_by_their_images(model: nn.Module) -> None:
    batches = [batch(0, 4), batch(1, 4), batch(2, 1)]
    reestimate_statistics_(model, batches)
    expected = model[0](torch.cat(batches)).detach().mean((0, 2, 3))
    torch.testing.assert_close(model[1].running_mean, expected)


def test_batches_may_be_a_generator_and_the_former_statistics_do_not_count(model: nn.Module) -> None:
    reestimate_statistics_(model, [batch(0, 4)])
    first = model[1].running_mean.clone()
    reestimate_statistics_(model, [batch(9, 4) * 100])
    reestimate_statistics_(model, (image for image in [batch(0, 4)]))
    assert torch.equal(model[1].running_mean, first)


@pytest.mark.parametrize("training", [True, False])
def test_weights_modes_and_momentum_stay(model: nn.Module, training: bool) -> None:
    model.train(training)
    model[2].train(not training)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    reestimate_statistics_(model, [batch(0, 4)])
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    assert [module.training for module in model] == [training, training, not training, training]
    assert model.training == training
    assert model[1].momentum == 0.3
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_dropout_stays_off(model: nn.Module) -> None:
    image, after_dropout = batch(0, 4), []
    handle = model[2].register_forward_hook(lambda _module, inputs, output: after_dropout.append((inputs[0], output)))
    reestimate_statistics_(model.train(), [image])
    handle.remove()
    assert torch.equal(*after_dropout[0])


def test_without_batch_norm_nothing_runs() -> None:
    def never() -> Iterator[Tensor]:
        raise AssertionError("no image is needed")
        yield

    report = reestimate_statistics_(
        nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, track_running_stats=False)), never()
    )
    assert report == {"n_layers": 0, "n_batches": 0, "n_images": 0, "largest_shift": 0.0}


def failing() -> Iterator[Tensor]:
    yield batch(0, 4)
    raise RuntimeError("lost")


@pytest.mark.parametrize(
    ("batches", "error", "message"),
    [
        ([], UserError, "no training slices"),
        ([torch.full((2, 1, 8, 8), torch.nan)], UserError, "became NaN"),
        (failing(), RuntimeError, "lost"),
    ],
)
def test_a_failure_leaves_the_former_statistics(
    model: nn.Module, batches: Any, error: type[Exception], message: str
) -> None:
    reestimate_statistics_(model, [batch(5, 4)])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(error, match=message):
        reestimate_statistics_(model, batches)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training
    assert model[1].momentum == 0.3
