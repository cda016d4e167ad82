"""How the weights move: the optimizer and its rate, robust gradients in front of it, Powerpropagation around it."""

from wcr_med.optimizers.build import build_optimizer, learning_rate, set_learning_rate
from wcr_med.optimizers.powerpropagation import Powerpropagation
from wcr_med.optimizers.robust import S2SAM, SAM, CrAMPlus, Robust, build_robust, frozen_statistics

__all__ = [
    "S2SAM",
    "SAM",
    "CrAMPlus",
    "Powerpropagation",
    "Robust",
    "build_optimizer",
    "build_robust",
    "frozen_statistics",
    "learning_rate",
    "set_learning_rate",
]
