"""Rankings that weigh a weight's importance against what it costs at inference."""

from collections.abc import Mapping

from torch import Tensor


def per_cost(importance: Mapping[str, Tensor], costs: Mapping[str, float], weight: float) -> dict[str, Tensor]:
    """Squared scores divided by cost^weight: where removing a unit of time hurts least, weights go first.

    Args:
        importance: by kernel name, squares or what counts like them, never negative.
        costs: of `wcr_med.models.layer_costs`.
        weight: 0 leaves the importance as it is, 1 ranks by importance per unit of time.

    Returns:
        By name, float64.
    """
    return {name: score.double() / costs[name] ** weight for name, score in importance.items()}
