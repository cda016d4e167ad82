"""Raw volume -> network input, and the network's answer back: numpy only, the same code in training and on the edge.

Shape suffixes: S slices, C channels, H and W rows and columns of the file's own grid, h and w of the network's grid.
"""

from wcr_med.preprocess.frame import Frame
from wcr_med.preprocess.prediction import (
    INTENSITY_LIMIT,
    Forward,
    Prepared,
    binarise,
    normalise,
    predict_batches,
    predict_volume,
    prepare,
    prepare_mask,
)
from wcr_med.preprocess.settings import PreprocessSettings
from wcr_med.preprocess.statistics import (
    BRIGHT_PERCENTILE,
    FOREGROUND_LEVEL,
    LEAST_CONTRAST,
    MARGIN,
    TRIM,
    Survey,
    foreground,
    survey,
)

__all__ = [
    "BRIGHT_PERCENTILE",
    "FOREGROUND_LEVEL",
    "INTENSITY_LIMIT",
    "LEAST_CONTRAST",
    "MARGIN",
    "TRIM",
    "Forward",
    "Frame",
    "Prepared",
    "PreprocessSettings",
    "Survey",
    "binarise",
    "foreground",
    "normalise",
    "predict_batches",
    "predict_volume",
    "prepare",
    "prepare_mask",
    "survey",
]
