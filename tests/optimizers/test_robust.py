"""SAM, CrAM+ and S2SAM: single steps against their formulas, weights untouched, statistics frozen."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

from wcr_med.config import OptimizerConfig
from wcr_med.optimizers import S2SAM, SAM, CrAMPlus, Robust, build_robust, frozen_statistics

KINDS = ["sam", "cram_plus", "s2sam"]


class Quadratic(nn.Module):
    """Loss 0.5 * sum(c w^2) over one kernel: the gradient c w is known everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1, bias=False)
        with torch.no_grad():
            self.layer.weight.copy_(torch.tensor([[1.0, -2.0, 3.0, 0.5]]))
        self.curvature = torch.tensor([[1.0, 2.0, 0.5, 4.0]])
        self.seen: list[Tensor] = []

    @property
    def w(self) -> Tensor:
        return self.layer.weight.detach()

    def backward(self) -> Tensor:
        self.seen.append(self.w.clone())
        loss = (self.curvature * self.layer.weight.square()).sum() / 2
        torch.autograd.backward(loss)
        return loss.detach()


def gradient(model: Quadratic) -> Tensor:
    assert model.layer.weight.grad is not None
    return model.layer.weight.grad


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 1))


def backward_of(model: nn.Module) -> Callable[[], Tensor]:
    image = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))

    def backward() -> Tensor:
        loss = model(image).square().mean()
        torch.autograd.backward(loss)
        return loss.detach()

    return backward


def test_sam_takes_the_gradient_at_the_perturbed_weights() -> None:
    model = Quadratic()
    c, w = model.curvature, model.w.clone()
    loss = SAM(model, 0.1).gradient_(model.backward)
    g = c * w
    assert float(loss) == pytest.approx(float((c * w**2).sum() / 2))
    torch.testing.assert_close(model.seen[1], w + 0.1 * g / g.norm())
    torch.testing.assert_close(gradient(model), c * (w + 0.1 * g / g.norm()))


def test_s2sam_perturbs_by_the_gradient_of_the_step_before() -> None:
    model = Quadratic()
    c, w = model.curvature, model.w.clone()
    robust = S2SAM(model, 0.1)
    robust.gradient_(model.backward)
    torch.testing.assert_close(gradient(model), c * w)
    before = gradient(model).clone()
    model.layer.weight.grad = None
    robust.gradient_(model.backward)
    torch.testing.assert_close(model.seen[1], w + 0.1 * before / before.norm())
    torch.testing.assert_close(gradient(model), c * model.seen[1])


@pytest.mark.parametrize(("sparsity", "kept"), [(0.5, [0, 1, 1, 0]), (0.75, [0, 1, 0, 0]), (0.0, [1, 1, 1, 1])])
def test_cram_adds_the_masked_gradient_at_the_compressed_weights(sparsity: float, kept: list[int]) -> None:
    model = Quadratic()
    c, w = model.curvature, model.w.clone()
    CrAMPlus(model, 0.5, [sparsity]).gradient_(model.backward)
    g, mask = c * w, torch.tensor([kept])
    moved = (w + 0.5 * g) * mask  # magnitudes 1.5, 4, 3.75, 1.5: of equal ones the threshold takes both
    torch.testing.assert_close(model.seen[1], moved)
    torch.testing.assert_close(gradient(model), g + mask * c * moved)


def test_cram_draws_its_sparsity_from_the_list() -> None:
    model = Quadratic()
    robust = CrAMPlus(model, 0.5, [0.25, 0.75])
    torch.manual_seed(0)
    zeros = set()
    for _ in range(20):
        model.layer.weight.grad = None
        robust.gradient_(model.backward)
        zeros.add(int((model.seen[-1] == 0).sum()))
    assert zeros == {2, 3}  # two of the four are tied, so a quarter takes both


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_left_bit_for_bit_and_statistics_move_once(kind: str) -> None:
    model, plain = network(), network()
    robust = build_robust(model, OptimizerConfig(robust=kind))
    assert robust is not None
    model[1].momentum = plain[1].momentum = 1.0  # so that the statistics are those of the last pass that moved them
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    robust.gradient_(backward_of(model))
    backward_of(plain)()
    assert all(torch.equal(parameter.detach(), before[name]) for name, parameter in model.named_parameters())
    for name, buffer in plain[1].named_buffers():
        assert torch.equal(buffer, model[1].get_buffer(name)), name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("set_to_none", [True, False])
def test_the_documented_loop_really_perturbs(kind: str, set_to_none: bool) -> None:
    def trained(robust_of: Callable[[nn.Module], Robust | None]) -> list[Tensor]:
        model = network()
        optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
        robust, backward = robust_of(model), backward_of(model)
        torch.manual_seed(0)
        for _ in range(4):
            optimizer.zero_grad(set_to_none=set_to_none)
            if robust is None:
                backward()
            else:
                robust.gradient_(backward)
            optimizer.step()
        return [parameter.detach() for parameter in model.parameters()]

    plain = trained(lambda _: None)
    perturbed = trained(lambda model: build_robust(model, OptimizerConfig(robust=kind)))
    assert any(not torch.allclose(a, b, rtol=1e-4) for a, b in zip(plain, perturbed, strict=True))
    again = trained(lambda model: build_robust(model, OptimizerConfig(robust=kind)))
    assert all(torch.equal(a, b) for a, b in zip(perturbed, again, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_without_gradient_nothing_is_perturbed(kind: str) -> None:
    model = Quadratic()
    with torch.no_grad():
        model.layer.weight.zero_()
    robust = build_robust(model, OptimizerConfig(robust=kind))
    assert robust is not None
    for _ in range(2):
        model.layer.weight.grad = None
        robust.gradient_(model.backward)
    assert not bool(torch.stack(model.seen).any())


def test_an_exception_in_the_second_pass_leaves_weights_and_norms_as_they_were() -> None:
    model = network()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    backward, calls = backward_of(model), iter([False, True])

    def failing() -> Tensor:
        if next(calls):
            raise RuntimeError("out of memory")
        return backward()

    with pytest.raises(RuntimeError, match="out of memory"):
        SAM(model, 0.05).gradient_(failing)
    assert all(torch.equal(a, b.detach()) for a, b in zip(before, model.parameters(), strict=True))
    assert model[1].track_running_stats


def test_frozen_statistics_use_the_batch_and_keep_the_running_ones() -> None:
    model = network()
    image = torch.randn(2, 3, 8, 8)
    running = {name: buffer.clone() for name, buffer in model[1].named_buffers()}
    with frozen_statistics(model):
        frozen = model(image)
    assert all(torch.equal(buffer, running[name]) for name, buffer in model[1].named_buffers())
    assert torch.equal(frozen, model(image))
    assert not torch.equal(model[1].running_mean, running["running_mean"])


def test_the_state_of_s2sam_is_the_gradient_before() -> None:
    model, other = Quadratic(), Quadratic()
    first, second = S2SAM(model, 0.1), S2SAM(other, 0.1)
    assert first.state() == {}
    first.gradient_(model.backward)
    second.load_state(first.state())
    model.layer.weight.grad = None
    first.gradient_(model.backward)
    second.gradient_(other.backward)
    assert torch.equal(gradient(model), gradient(other))


def test_none_builds_none() -> None:
    assert build_robust(Quadratic(), OptimizerConfig()) is None
