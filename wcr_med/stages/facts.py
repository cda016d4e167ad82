"""What a report needs to know of a network, kept beside its scores so that the network itself need not be opened."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from torch import nn

from wcr_med.artefacts import ModelArtefact
from wcr_med.config import RepairName
from wcr_med.errors import UserError
from wcr_med.files import read_json, write_json
from wcr_med.models import sparsity as measure_sparsity

SCHEMA_VERSION = 1
FACTS_NAME = "network.json"


@dataclass(frozen=True, kw_only=True)
class NetworkFacts:
    """A network in numbers.

    Attributes:
        sparsity_prunable: share of zeros among prunable weights; `sparsity_all` among all parameters.
        n_prunable: prunable weights; `n_all` all parameters.
        repair: names of the steps that followed pruning, in order; empty for none.
        retrained_epochs: of training after pruning with the mask held; 0 for one-shot.
        history: every step that made the network, as of `ModelArtefact.history`.
        provenance: of the training.
    """

    sparsity_prunable: float
    sparsity_all: float
    n_prunable: int
    n_all: int
    repair: tuple[str, ...]
    retrained_epochs: int
    history: tuple[Mapping[str, Any], ...]
    provenance: Mapping[str, Any]

    @classmethod
    def of(cls, model: nn.Module, artefact: ModelArtefact) -> Self:
        """Count the zeros of a network and take the rest from its artefact."""
        report = measure_sparsity(model)
        repairs = set(RepairName.__args__)  # type: ignore[attr-defined] # a Literal
        return cls(
            sparsity_prunable=report.sparsity_prunable,
            sparsity_all=report.sparsity_all,
            n_prunable=report.n_prunable,
            n_all=report.n_all,
            repair=tuple(step["step"] for step in artefact.history if step["step"] in repairs),
            retrained_epochs=next((step["epochs"] for step in artefact.history if step["step"] == "finetune"), 0),
            history=tuple(artefact.history),
            provenance=artefact.provenance,
        )

    def step(self, name: str) -> Mapping[str, Any] | None:
        """A step of the history by name; `None` where it was not done."""
        return next((step for step in self.history if step["step"] == name), None)

    def save(self, folder: Path) -> None:
        """Write network.json into an evaluation folder."""
        write_json(folder / FACTS_NAME, {"schema_version": SCHEMA_VERSION, **asdict(self)})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the network.json of an evaluation folder.

        Raises:
            UserError: it is missing, of another schema, or a field is missing or wrong.
        """
        path = folder / FACTS_NAME
        document = read_json(path)
        if not isinstance(document, dict) or document.pop("schema_version", None) != SCHEMA_VERSION:
            raise UserError(f"{path}: not of schema version {SCHEMA_VERSION}; run the evaluation again")
        try:
            _require_kinds(document)
            facts = cls(
                **{**document, "repair": tuple(document["repair"]), "history": tuple(document["history"])},
            )
        except (KeyError, TypeError) as error:
            raise UserError(f"{path}: a field is missing or wrong ({error}); run the evaluation again") from None
        return facts


def _require_kinds(document: Mapping[str, Any]) -> None:
    """Raise TypeError or KeyError where a field is of another kind than it was written as."""
    for name in ("sparsity_prunable", "sparsity_all", "n_prunable", "n_all", "retrained_epochs"):
        if type(document[name]) not in (int, float):
            raise TypeError(f"{name} is {document[name]!r}")
    if not isinstance(document["provenance"], Mapping):
        raise TypeError("provenance is no record")
    for step in document["history"]:
        if not isinstance(step, Mapping) or "step" not in step:
            raise TypeError("a step of history has no name")
