"""What training lowers: soft Dice and cross-entropy, both from MONAI."""

from collections.abc import Callable

from monai.losses import DiceCELoss
from torch import Tensor

from wcr_med.config import LossConfig

Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits_N1hw, target_N1hw) -> scalar."""


def build_loss(config: LossConfig) -> Loss:
    """The weighted sum `dice * (1 - soft Dice) + cross_entropy * binary cross-entropy`, both on sigmoid(logits).

    The soft Dice is

        (2 sum(p t) + s) / (sum(p) + sum(t) + s),    p = sigmoid(logits), t = target, s = 1e-5,

    its sums over all pixels of the batch, or with `dice_over` "slice" over each slice, averaged then over the batch. By
    slice, one without tumour costs nearly 1 unless the network is all but silent on it, and its gradient drowns those
    of the others; so the batch is the default. The cross-entropy is the mean over all pixels. Both weights may not be
    zero at once; the configuration sees to that.

    Args:
        config: the two weights, and what the Dice is summed over.

    Returns:
        A function of logits_N1hw (any real) and target_N1hw (0 or 1, the same shape and dtype), giving a scalar of at
        least 0. Give it float32: sums over a slice in bfloat16 are wrong by percents.

    References:
        Milletari, Navab, Ahmadi: V-Net, 3DV 2016 (soft Dice, here with the plain denominator).
    """
    return _as_loss(
        DiceCELoss(
            sigmoid=True,
            lambda_dice=config.dice,
            lambda_ce=config.cross_entropy,
            batch=config.dice_over == "batch",
        )
    )


def _as_loss(module: DiceCELoss) -> Loss:
    def loss(logits_N1hw: Tensor, target_N1hw: Tensor) -> Tensor:
        value: Tensor = module(logits_N1hw, target_N1hw)
        return value

    return loss
