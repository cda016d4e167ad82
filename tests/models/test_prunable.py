import torch
from torch import nn

from wcr_med.models import prunable_parameters, sparsity


class Everything(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3)
        self.norm = nn.BatchNorm2d(3)
        self.up = nn.ConvTranspose2d(3, 2, 2, stride=2)
        self.act = nn.PReLU()
        self.linear = nn.Linear(4, 5)
        self.tied = nn.Linear(4, 5)
        self.tied.weight = self.linear.weight


def test_kernels_in_module_order_and_shared_ones_once() -> None:
    assert list(prunable_parameters(Everything())) == ["conv.weight", "up.weight", "linear.weight"]


def test_a_bare_layer_has_a_name_too() -> None:
    assert list(prunable_parameters(nn.Linear(2, 2))) == ["weight"]


def test_counts_zeros_against_both_denominators() -> None:
    model = nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2))
    with torch.no_grad():
        model[0].weight.fill_(1)
        model[0].weight[0, :3] = 0
        model[0].weight[0, 1] = -0.0
        model[0].bias.zero_()
        model[1].bias.fill_(1)
    report = sparsity(model)
    assert (report.n_prunable, report.n_prunable_zero) == (8, 3)
    assert (report.n_all, report.n_all_zero) == (8 + 2 + 4, 3 + 2)
    assert report.sparsity_prunable == 3 / 8
    assert report.sparsity_all == 5 / 14
    (row,) = report.layers
    assert (row.name, row.shape, row.n, row.n_zero, row.sparsity) == ("0.weight", (2, 4), 8, 3, 3 / 8)
    document = report.to_dict()
    assert document["sparsity_prunable"] == 3 / 8
    assert document["layers"] == [{"name": "0.weight", "shape": [2, 4], "n": 8, "n_zero": 3, "sparsity": 3 / 8}]


def test_a_network_without_kernels() -> None:
    report = sparsity(nn.ReLU())
    assert (report.sparsity_prunable, report.sparsity_all, report.layers) == (0.0, 0.0, ())
