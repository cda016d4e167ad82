"""The state of a training between two steps: one safetensors file, whole or absent, with the one before it kept.

The file holds tensors and, in its header, one JSON document; reading it runs no code. Between two epochs random numbers
need no place in it: every epoch draws them from the seed and its own number.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from wcr_med.documents import flatten
from wcr_med.errors import UserError
from wcr_med.files import atomic_path
from wcr_med.tensor_files import content_of, read_tensors, save_tensors
from wcr_med.training.progress import Progress

STATE_NAME = "state.safetensors"
PREVIOUS_NAME = "state.previous.safetensors"

_SCHEMA = 2
_READS = (1, _SCHEMA)  # the first had a digest of the tensors alone
_KEY = "wcr_med_training"
_MODEL = "model."
_OPTIMIZER = "optimizer."
_EXTRA = "extra."


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a state file holds.

    Attributes:
        path: the file it was read from.
        fingerprint: the settings that decide the weights, nested as in the configuration.
        progress: what had been reached.
        model: the network's weights and buffers by name.
        optimizer: the optimizer's tensors as "PARAMETER/SLOT".
        extras: of `TrainingStep.state`, and within an epoch of `random_state`.
    """

    path: Path
    fingerprint: dict[str, Any]
    progress: Progress
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    extras: dict[str, Tensor]

    def check_fingerprint(self, fingerprint: Mapping[str, Any]) -> None:
        """Refuse to go on under other settings than those the state was made with.

        Raises:
            UserError: a setting differs; names the first, and both values.
        """
        before, now = flatten(self.fingerprint), flatten(fingerprint)
        for name in sorted(before.keys() | now.keys()):
            was, value = before.get(name, "not there"), now.get(name, "not there")
            if was != value and name == "data":
                raise UserError(
                    f"{self.path}: the images or masks have changed since this training began; restore them to resume,"
                    " or choose another --out"
                )
            if was != value and name == "plan":
                raise UserError(
                    f"{self.path}: this training began under another plan.json; restore that file to resume, or choose"
                    " another --out"
                )
            if was != value:
                raise UserError(
                    f"{self.path}: this training began with {name} {was}, now it is {value};"
                    " set it back to resume, or choose another --out"
                )

    def restore(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Copy weights, buffers and optimizer tensors into place, in the memory layout that the model has.

        Raises:
            UserError: the state belongs to another network; names the first tensor that differs, and both shapes.
        """
        own = model.state_dict()
        for name in [*own, *(name for name in self.model if name not in own)]:
            found, expected = _shape(self.model.get(name)), _shape(own.get(name))
            if found != expected:
                raise UserError(
                    f"{self.path}: belongs to another network: tensor {name} is {found} in the file and {expected} in"
                    " the network; choose another --out, or the model section it was trained with"
                )
        model.load_state_dict(self.model)
        parameters = dict(model.named_parameters())
        names = _parameter_names(model, optimizer)
        state: dict[int, dict[str, Tensor]] = {}
        for key, saved in self.optimizer.items():
            name, slot = key.split("/")
            parameter = parameters.get(name)
            if parameter is None or name not in names or (saved.ndim and saved.shape != parameter.shape):
                raise UserError(
                    f"{self.path}: belongs to another network: {name} has no such state; choose another --out"
                )
            # A slot as large as its parameter takes its layout too, so that a step reads both in one order.
            restored = torch.empty_like(parameter).copy_(saved) if saved.ndim else saved
            state.setdefault(names.index(name), {})[slot] = restored.detach()
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def save_checkpoint(
    folder: Path,
    model: nn.Module,
    optimizer: Optimizer,
    progress: Progress,
    fingerprint: Mapping[str, Any],
    *,
    extras: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the state; the one that was there becomes the previous one. `extras` as in `Checkpoint`.

    Raises:
        UserError: the disk is full or the folder cannot be written. The states that were there stay.
    """
    tensors = {f"{_MODEL}{name}": _plain(tensor) for name, tensor in model.state_dict().items()}
    tensors |= {f"{_EXTRA}{name}": _plain(tensor) for name, tensor in (extras or {}).items()}
    names = _parameter_names(model, optimizer)
    for index, slots in optimizer.state_dict()["state"].items():
        for slot, value in slots.items():
            if isinstance(value, Tensor):  # plain SGD keeps `None` where momentum would have a buffer
                tensors[f"{_OPTIMIZER}{names[index]}/{slot}"] = _plain(value)
    document = {
        "schema_version": _SCHEMA,
        "fingerprint": dict(fingerprint),
        "progress": progress.to_dict(),
    }
    content = content_of(tensors, {_KEY: json.dumps(document, allow_nan=False)})
    target = folder / STATE_NAME
    with atomic_path(target) as temporary:
        temporary.write_bytes(content)
        # If the process dies between here and the final rename, the previous state is still found under its name.
        if target.exists():
            target.replace(folder / PREVIOUS_NAME)


def load_checkpoint(folder: Path, log: logging.Logger) -> Checkpoint | None:
    """Read the newest state that is whole; `None` where the folder has none.

    A damaged newest state is named in a warning and the previous one is taken.

    Raises:
        UserError: states exist, and none can be read.
    """
    paths = [path for path in (folder / STATE_NAME, folder / PREVIOUS_NAME) if path.exists()]
    for path in paths:
        try:
            return _read(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s: damaged (%s); trying the state before it", path, error)
    if paths:
        raise UserError(
            f"{paths[0]}: damaged, and no earlier state is whole; delete the folder {folder} to start again"
        )
    return None


def save_weights(path: Path, model: nn.Module) -> None:
    """Write the network's weights and buffers alone, whole or not at all.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    save_tensors(path, model.state_dict(), {"format": "pt"})


def load_weights_(path: Path, model: nn.Module) -> None:
    """Copy weights that `save_weights` wrote into the network.

    Raises:
        UserError: the file is missing, damaged, or belongs to another network.
    """
    try:
        model.load_state_dict(read_tensors(path)[0])
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); delete the folder {path.parent} to start again") from None


def require_weights(path: Path) -> None:
    """Refuse weights that are missing or damaged, before hours of training need them at their end.

    Raises:
        UserError: see `load_weights_`.
    """
    try:
        read_tensors(path)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: the best weights of the interrupted training cannot be read ({error}); restore the file from a"
            f" copy, or delete the folder {path.parent} to start again"
        ) from None


def _read(path: Path) -> Checkpoint:
    tensors, texts = read_tensors(path)
    document = json.loads(texts[_KEY])
    if document["schema_version"] not in _READS:
        raise ValueError(f"schema {document['schema_version']}, expected {_SCHEMA}")
    if document["schema_version"] == 1 and document["sha256"] != _digest(tensors):
        raise ValueError("its checksum differs")
    return Checkpoint(
        path=path,
        fingerprint=document["fingerprint"],
        progress=Progress.from_dict(document["progress"]),
        model=_with_prefix(tensors, _MODEL),
        optimizer=_with_prefix(tensors, _OPTIMIZER),
        extras=_with_prefix(tensors, _EXTRA),
    )


def _with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _parameter_names(model: nn.Module, optimizer: Optimizer) -> list[str]:
    """Names in the order by which the optimizer numbers its parameters."""
    by_identity = {id(parameter): name for name, parameter in model.named_parameters()}
    return [by_identity[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]


def _plain(tensor: Tensor) -> Tensor:
    """The same values on the CPU, row-major: the form in which safetensors stores them."""
    return tensor.detach().cpu().contiguous()


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """Of schema 1."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _shape(tensor: Tensor | None) -> str:
    return "absent" if tensor is None else "x".join(map(str, tensor.shape)) or "a scalar"
