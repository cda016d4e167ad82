"""Training: one loop, its checkpoints, its validation, its logs."""

from wcr_med.training.deciding import deciding_fields
from wcr_med.training.distributed import Group, join_group
from wcr_med.training.epochs import BEST_NAME
from wcr_med.training.loop import LAST_NAME, TrainResult, train
from wcr_med.training.processor import Processor, choose_processor, processor_settings
from wcr_med.training.validation import ValidationScores, validate

__all__ = [
    "BEST_NAME",
    "LAST_NAME",
    "Group",
    "Processor",
    "TrainResult",
    "ValidationScores",
    "choose_processor",
    "deciding_fields",
    "join_group",
    "processor_settings",
    "train",
    "validate",
]
