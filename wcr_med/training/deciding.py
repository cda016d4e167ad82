"""Which fields of the configuration decide the trained weights."""

from typing import Any

from wcr_med.config import Config

_SECTIONS = {"seed", "preprocess", "augment", "model", "regularizer", "loss", "optimizer", "training"}
# These may change between an interruption and the resume.
_NOT_DECIDING = {"threads", "loader_workers", "device", "slices", "compile", "checkpoint_minutes", "track"}


def deciding_fields(config: Config) -> dict[str, Any]:
    """The fields that the weights depend on, JSON-ready; two trainings with equal ones on equal images are the same."""
    document = config.model_dump(mode="json", include=_SECTIONS)
    document["training"] = {name: value for name, value in document["training"].items() if name not in _NOT_DECIDING}
    return document
