"""The document in a model file, made from what is known about the trained network, without naming a patient."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn

from wcr_med.artefacts import ModelArtefact
from wcr_med.config import CardConfig
from wcr_med.errors import UserError
from wcr_med.model_metadata import LICENCE_NOTE, ModelMetadata
from wcr_med.models import sparsity
from wcr_med.preprocess import PreprocessSettings
from wcr_med.provenance import provenance

_SHORT = 4  # identifiers below this length are common words or numbers: only a text equal to one counts


def build_metadata(
    model: nn.Module,
    artefact: ModelArtefact,
    *,
    channel_files: Sequence[str] | None = None,
    licence: str = LICENCE_NOTE,
) -> ModelMetadata:
    """What the file of `model` says about itself.

    Entries of the history that name a patient of the training or validation set are left out, and the lists of patients
    do not enter at all: a model file travels further than the data.

    Args:
        model: the network as trained, before batch norm is folded; its zeros are counted.
        artefact: what is known about it.
        channel_files: for NIfTI with one file a channel: a file pattern for each, in the network's order.
        licence: of the weights, for the reader; see `licence_of`.

    Raises:
        UserError: no operating threshold was chosen.
    """
    if artefact.threshold is None:
        raise UserError("the network has no operating threshold; train or prune it again, which chooses one")
    report = sparsity(model).to_dict()
    patients = (*artefact.trained_on, *artefact.validated_on)
    return ModelMetadata(
        in_channels=int(artefact.model_config["in_channels"]),
        preprocess=PreprocessSettings.from_dict(artefact.preprocess),
        threshold=float(artefact.threshold),
        sparsity={name: value for name, value in report.items() if name != "layers"},
        split_hash=artefact.split_hash,
        network=dict(artefact.model_config),
        history=tuple(without_patients(list(artefact.history), patients)),
        provenance={"network": artefact.provenance, "export": provenance(seed=None)},
        channel_files=tuple(channel_files) if channel_files is not None else None,
        channels=artefact.channels,
        image_statistics=artefact.image_statistics,
        licence=licence,
    )


def licence_of(card: CardConfig) -> str:
    """The licence that a model file names: what `card.licence` and `card.data_licence` state, on one line.

    Returns:
        The general note where neither is stated.
    """
    weights, images = (" ".join((text or "").split()).rstrip(".") for text in (card.licence, card.data_licence))
    first = f"{weights}." if weights else LICENCE_NOTE
    return f"{first} Training images: {images}." if images else first


def without_patients(document: Any, patients: Iterable[str]) -> Any:
    """A copy of a JSON document without the list and dictionary entries whose key or text names a patient.

    A text names a patient if it equals the identifier or, for identifiers of four characters and more, holds it as a
    word of its own: `TCGA_CS_4942` is found in `TCGA_CS_4942_19970222/slice.tif` and not in `TCGA_CS_49421`.

    Args:
        document: JSON-ready.
        patients: identifiers. None at all: the document is copied whole.
    """
    identifiers = sorted(set(patients))
    long = [re.escape(name) for name in identifiers if len(name) >= _SHORT]
    pattern = re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(long)})(?![A-Za-z0-9])") if long else None
    exact = frozenset(identifiers)

    def names_patient(value: Any) -> bool:
        return isinstance(value, str) and (
            value in exact or (pattern is not None and pattern.search(value) is not None)
        )

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: clean(entry) for key, entry in value.items() if not (names_patient(key) or names_patient(entry))
            }
        if isinstance(value, list | tuple):
            return [clean(entry) for entry in value if not names_patient(entry)]
        return value

    return clean(document)
