"""A trained network on disk: one safetensors file with the weights and all that is needed to use and to judge them."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError
from torch import Tensor, nn

from wcr_med.channel_names import is_names
from wcr_med.config import ModelConfig
from wcr_med.errors import UserError
from wcr_med.models import build_model
from wcr_med.preprocess import PreprocessSettings
from wcr_med.tensor_files import DamagedError, read_tensors, save_tensors

SCHEMA_VERSION = 2
_ADDED_SINCE_1 = {"channels": None, "image_statistics": None}  # what a file of schema 1 does not say
_KEY = "wcr_med"  # of the JSON document in the safetensors header


@dataclass(frozen=True, kw_only=True)
class ModelArtefact:
    """What is known about a trained network besides its weights.

    Attributes:
        model_config: the fields of `wcr_med.config.ModelConfig`.
        preprocess: the fields of `wcr_med.preprocess.PreprocessSettings`.
        split_hash: of the partition it was trained on.
        trained_on: patients whose slices moved the weights.
        validated_on: patients who chose the epoch, or the threshold.
        threshold: operating threshold on the probability, above 0 and below 1; `None` before one was chosen.
        history: the named steps that made the network, in order; each a dictionary with "step" and its parameters and
            results.
        provenance: of the run, see `wcr_med.provenance`.
        channels: names of the input channels, in their order; `None`: not known.
        image_statistics: what the training images look like, see `wcr_med.plausibility`; `None`: not known.
        schema_version: of this document.
    """

    model_config: dict[str, Any]
    preprocess: dict[str, Any]
    split_hash: str
    trained_on: tuple[str, ...]
    validated_on: tuple[str, ...]
    threshold: float | None = None
    history: tuple[dict[str, Any], ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)
    channels: tuple[str, ...] | None = None
    image_statistics: dict[str, Any] | None = None
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise ValueError(f"threshold is {self.threshold}: a probability between 0 and 1 is needed")
        both = sorted(set(self.trained_on) & set(self.validated_on))
        if both:
            raise ValueError(f"patient {both[0]} stands in trained_on and in validated_on")
        if not all(isinstance(step.get("step"), str) for step in self.history):
            raise ValueError('every step of history needs its name under "step"')
        if self.channels is not None and not is_names(self.channels, int(self.model_config["in_channels"])):
            raise ValueError(f"channels is {self.channels!r}: a name for each input channel is needed")

    @property
    def settings(self) -> PreprocessSettings:
        """The preprocessing, as an object."""
        return PreprocessSettings.from_dict(self.preprocess)

    def with_step(self, step: str, **details: Any) -> Self:
        """A copy whose history ends with one more step.

        Args:
            step: its name, such as "train", "prune", "reestimate_statistics" or "choose_threshold".
            **details: its parameters and results, JSON-ready.
        """
        return replace(self, history=(*self.history, {"step": step, **details}))

    def refuse_leak(self, test_patients: Iterable[str]) -> None:
        """Stop an evaluation on patients that the network has seen.

        Raises:
            UserError: a patient was trained or validated on.
        """
        test = set(test_patients)
        for verb, patients in (("trained", self.trained_on), ("validated", self.validated_on)):
            seen = sorted(test & set(patients))
            if seen:
                raise UserError(
                    f"{seen[0]}{_and_more(seen)}: this network was {verb} on it and may not be tested on it; "
                    "give the split that the network was trained with"
                )

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary that `from_dict` reads back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: dict[str, Any], *, source: str) -> Self:
        """Read what `to_dict` wrote; `source` names it in messages.

        Raises:
            UserError: another schema, or a field is missing, unknown or invalid.
        """
        version = document.get("schema_version")
        if version == 1:
            document = {**_ADDED_SINCE_1, **document, "schema_version": SCHEMA_VERSION}
        elif version != SCHEMA_VERSION:
            raise UserError(
                f"{source}: its metadata have schema {version}, this version reads 1 and {SCHEMA_VERSION}; "
                "use the version of wcr-med that wrote it, or train again"
            )
        known = {entry.name for entry in fields(cls)}
        if set(document) != known:
            wrong = ", ".join(sorted(set(document) ^ known))
            raise UserError(f"{source}: metadata fields missing or unknown: {wrong}; train again")
        values: dict[str, Any] = dict(document)
        try:
            values.update({name: tuple(document[name]) for name in ("trained_on", "validated_on", "history")})
            values["channels"] = None if document["channels"] is None else tuple(document["channels"])
            return cls(**values)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise UserError(f"{source}: metadata are invalid ({error}); train again") from None


def save_model(path: Path, model: nn.Module, artefact: ModelArtefact) -> None:
    """Write weights, running statistics and metadata to one file, whole or not at all.

    Args:
        path: the file, usually `<name>.safetensors`.
        model: the network; its tensors are stored on the CPU in their own dtypes.
        artefact: goes into the file's header as one JSON document; a digest of all is added.

    Raises:
        UserError: the disk is full or the folder cannot be written.
        ValueError: the metadata hold NaN or infinity, which JSON has not.
    """
    header = {_KEY: json.dumps(artefact.to_dict(), allow_nan=False, ensure_ascii=False)}
    # Clones: the format refuses tensors that share memory.
    tensors = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    save_tensors(path, tensors, header)


def load_model(path: Path) -> tuple[nn.Module, ModelArtefact]:
    """Read a network that `save_model` wrote.

    Returns:
        The network on the CPU in evaluation mode, and its metadata. Nothing is downloaded.

    Raises:
        UserError: no such file, not a safetensors file, changed since it was written, no or other metadata, or weights
            that do not fit the network; the message names the first tensor that differs and both shapes.
    """
    document, tensors = _read(path)
    artefact = ModelArtefact.from_dict(document, source=str(path))
    model = build_model(_model_config(artefact.model_config, path), seed=0)
    _require_fit(tensors, model.state_dict(), path)
    model.load_state_dict(tensors)
    return model.eval(), artefact


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise UserError(f"{path}: no such file; give a network that `wcr-med train` or `wcr-med prune` wrote")
    try:
        tensors, texts = read_tensors(path)
    except (DamagedError, OSError) as error:
        raise UserError(f"{path}: {error}; run the command that wrote it again") from None
    text = texts.get(_KEY)
    if text is None:
        raise UserError(f"{path}: holds weights but no wcr-med metadata; give a network that wcr-med wrote")
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: its metadata are not JSON ({error}); train again") from None
    if not isinstance(document, dict):
        raise UserError(f"{path}: its metadata are not a JSON object; train again")
    return document, tensors


def _model_config(document: dict[str, Any], path: Path) -> ModelConfig:
    try:
        # The file holds the weights: the pre-trained ones that training began with are not needed any more.
        return ModelConfig.model_validate_json(json.dumps({**document, "encoder_weights": None}))
    except (ValidationError, TypeError) as error:
        first = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise UserError(f"{path}: describes a network that this version does not know ({first}); train again") from None


def _require_fit(found: dict[str, Tensor], needed: dict[str, Tensor], path: Path) -> None:
    for name in [*needed, *(name for name in found if name not in needed)]:
        in_file, in_network = _describe(found.get(name)), _describe(needed.get(name))
        if in_file != in_network:
            raise UserError(
                f"{path}: weights do not fit the network it describes: {name} is {in_file} in the file and "
                f"{in_network} in the network; train again"
            )


def _describe(tensor: Tensor | None) -> str:
    if tensor is None:
        return "absent"
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _and_more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""
