"""Whether an image can be what a network was trained on: what images look like, and what speaks against one."""

from wcr_med.plausibility.judge import doubts, nothing_to_see, voxel_doubts
from wcr_med.plausibility.measure import Look, VoxelCounts, look
from wcr_med.plausibility.statistics import ImageStatistics, fit_statistics

__all__ = [
    "ImageStatistics",
    "Look",
    "VoxelCounts",
    "doubts",
    "fit_statistics",
    "look",
    "nothing_to_see",
    "voxel_doubts",
]
