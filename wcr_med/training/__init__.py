"""Training: one loop, its checkpoints, its validation, its logs."""

from wcr_med.training.deciding import deciding_fields
from wcr_med.training.loop import BEST_NAME, LAST_NAME, TrainResult, train
from wcr_med.training.processor import Processor, choose_processor, processor_settings
from wcr_med.training.validation import ValidationScores, validate

__all__ = [
    "BEST_NAME",
    "LAST_NAME",
    "Processor",
    "TrainResult",
    "ValidationScores",
    "choose_processor",
    "deciding_fields",
    "processor_settings",
    "train",
    "validate",
]
