"""What a model file says about itself: one JSON document, written by `export` and read by `runtime`.

Standard library only, so that the edge reads it without more.
"""

import json
import math
from dataclasses import dataclass, fields
from typing import Any

from wcr_med.channel_names import is_names
from wcr_med.errors import UserError
from wcr_med.preprocess import PreprocessSettings

METADATA_KEY = "wcr_med"
"""The document's key among the metadata of an ONNX file."""

SCHEMA_VERSION = 2
_ADDED_SINCE_1 = {"channels": None, "image_statistics": None}  # what a file of schema 1 does not say
TASK = "binary-segmentation"
INPUTS = ("image", "centre", "spread")
"""Graph inputs: raw intensities (N, C, h, w), and mean (C) and spread (C) of the volume; all float32."""

OUTPUTS = ("logits", "probability")
"""Graph outputs, both (N, 1, h, w) float32."""

STANDALONE_OUTPUTS = ("mask", "probability")
"""Graph outputs of a standalone file, both (slices, rows, columns); its one input is the first of `INPUTS`."""

MAX_BYTES = 2**20
"""Of the document. Those of ours have some thousand."""

_LARGEST_INTEGER = 2**63  # JSON has larger ones, which are no float
_MAX_CHANNELS = 1024
_MAX_PATTERN = 256  # characters of a file pattern
_MAX_SHOWN = 120  # characters of a wrong value in a message

INTENDED_USE = "Research use only. Not a medical device."
LICENCE_NOTE = "The weights derive from their training images, whose licence applies to them."


@dataclass(frozen=True, kw_only=True)
class ModelMetadata:
    """All that the user of a model file needs besides the graph. Names no patient.

    Attributes:
        in_channels: image channels, at least 1.
        preprocess: the network's grid and what normalises a volume.
        threshold: a voxel is foreground where its probability is at least this; in (0, 1).
        sparsity: zeros against both denominators, by name: `n_prunable`, `n_prunable_zero`, `sparsity_prunable`,
            `n_all`, `n_all_zero`, `sparsity_all`. Counted in the trained network, before batch norm was folded.
        split_hash: of the partition that the network was trained on.
        network: architecture, the fields of the configuration's section `model`.
        history: the named steps that made the network, in order.
        provenance: of the training run and of the export.
        channel_files: for NIfTI with one file a channel: a file pattern for each channel, in the network's order.
        channels: names of the channels, in the network's order; `None`: the file does not name them.
        image_statistics: what the training images look like, see `wcr_med.plausibility`; `None`: the file
            does not say.
        classes: name of each label, from label 0.
        intended_use: for the reader.
        licence: for the reader.
    """

    in_channels: int
    preprocess: PreprocessSettings
    threshold: float
    sparsity: dict[str, float]
    split_hash: str
    network: dict[str, Any]
    history: tuple[dict[str, Any], ...]
    provenance: dict[str, Any]
    channel_files: tuple[str, ...] | None = None
    channels: tuple[str, ...] | None = None
    image_statistics: dict[str, Any] | None = None
    classes: tuple[str, ...] = ("background", "lesion")
    intended_use: str = INTENDED_USE
    licence: str = LICENCE_NOTE

    def to_json(self) -> str:
        """One line of JSON, keys in order of declaration after `schema_version` and `task`.

        Raises:
            ValueError: a value is NaN or infinite, or is not JSON.
        """
        document: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "task": TASK}
        document |= {field.name: getattr(self, field.name) for field in fields(self)}
        document["preprocess"] = self.preprocess.to_dict()
        return json.dumps(document, allow_nan=False, ensure_ascii=False)

    @property
    def slice_inputs(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the graph's inputs for one slice, by name."""
        shapes = ((1, self.in_channels, self.preprocess.height, self.preprocess.width), *[(self.in_channels,)] * 2)
        return dict(zip(INPUTS, shapes, strict=True))

    @classmethod
    def from_json(cls, text: str | None, *, source: str) -> "ModelMetadata":
        """Read what `to_json` wrote.

        Args:
            text: the document; `None` where the file has none.
            source: the file, for messages.

        Raises:
            UserError: no document, not JSON, another schema or task, or a field is missing, unknown or out of range.
        """
        document = _parse(text, source)
        version = document.get("schema_version")
        if version == 1 and not isinstance(version, bool):
            document = {**_ADDED_SINCE_1, **document}
        elif version != SCHEMA_VERSION:
            raise UserError(
                f"{source}: its metadata have schema {_shown(version)}, this version reads 1 and {SCHEMA_VERSION}; "
                "use the version of wcr-med that wrote it, or export the network again"
            )
        if document.get("task") != TASK:
            raise UserError(
                f"{source}: made for the task {_shown(document.get('task'))}, not {TASK}; give another model file"
            )
        values = {name: value for name, value in document.items() if name not in ("schema_version", "task")}
        known = {field.name for field in fields(cls)}
        if set(values) != known:
            wrong = _shown(sorted(set(values) ^ known))
            raise UserError(f"{source}: metadata fields missing or unknown: {wrong}; export the network again")
        _require_types(values, source)
        values["preprocess"] = _settings(values["preprocess"], source)
        values["history"] = tuple(values["history"])
        values["classes"] = tuple(values["classes"])
        if values["channel_files"] is not None:
            values["channel_files"] = tuple(values["channel_files"])
        if values["channels"] is not None:
            values["channels"] = tuple(values["channels"])
        return cls(**values)


def _parse(text: str | None, source: str) -> dict[str, Any]:
    if text is None:
        raise UserError(f"{source}: holds no wcr-med metadata; give a file that `wcr-med export` wrote")
    if len(text) > MAX_BYTES:
        raise UserError(
            f"{source}: its metadata have {len(text)} characters, more than {MAX_BYTES}; export the network again"
        )
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets within brackets
        raise UserError(f"{source}: its metadata are not JSON ({error}); export the network again") from None
    if not isinstance(document, dict):
        raise UserError(f"{source}: its metadata are not a JSON object; export the network again")
    return document


def _settings(document: dict[str, Any], source: str) -> PreprocessSettings:
    try:
        return PreprocessSettings.from_dict(document)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    except TypeError:
        raise UserError(
            f"{source}: preprocessing settings of wrong types: {_shown(document)}; export the network again"
        ) from None


def _require_types(values: dict[str, Any], source: str) -> None:
    threshold, channels, patterns = values["threshold"], values["in_channels"], values["channel_files"]
    valid = {
        "in_channels": _is_number(channels, int) and 1 <= channels <= _MAX_CHANNELS,
        "preprocess": isinstance(values["preprocess"], dict),
        "threshold": _is_number(threshold, float) and 0 < threshold < 1,
        "sparsity": isinstance(values["sparsity"], dict)
        and all(_is_number(value, int, float) for value in values["sparsity"].values()),
        "split_hash": _is_text(values["split_hash"]),
        "network": isinstance(values["network"], dict),
        "history": isinstance(values["history"], list) and all(isinstance(step, dict) for step in values["history"]),
        "provenance": isinstance(values["provenance"], dict),
        "channel_files": patterns is None
        or (
            _is_texts(patterns)
            and len(patterns) in (1, channels)
            and all(len(pattern) <= _MAX_PATTERN for pattern in patterns)
        ),
        "channels": values["channels"] is None or is_names(values["channels"], channels),
        "image_statistics": values["image_statistics"] is None or isinstance(values["image_statistics"], dict),
        "classes": _is_texts(values["classes"]) and len(values["classes"]) == 2,
        "intended_use": _is_text(values["intended_use"]),
        "licence": _is_text(values["licence"]),
    }
    for name, fits in valid.items():
        if not fits:
            found = _shown(values[name])
            raise UserError(f"{source}: metadata field {name} is {found}, which is not valid; export the network again")


def _is_number(value: Any, *kinds: type[int] | type[float]) -> bool:
    if not isinstance(value, kinds) or isinstance(value, bool):
        return False
    return abs(value) < _LARGEST_INTEGER if isinstance(value, int) else math.isfinite(value)


def _is_text(value: Any) -> bool:
    """Of characters that a terminal shows and does not obey."""
    return isinstance(value, str) and value.isprintable()


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(_is_text(entry) for entry in value)


def _shown(value: Any) -> str:
    """A value for a message: its beginning, in printable characters."""
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
