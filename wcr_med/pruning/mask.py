"""Which weights stay: an object that cannot be built wrong."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import torch
from torch import Tensor, nn

from wcr_med.errors import UserError
from wcr_med.files import write_json
from wcr_med.models import prunable_parameters
from wcr_med.tensor_files import DamagedError, read_tensors, save_tensors

SCHEMA_VERSION = 1
_KEY = "wcr_med_mask"  # of the JSON document in the safetensors header


@dataclass(frozen=True, kw_only=True)
class LayerKept:
    """One kernel of a mask.

    Attributes:
        name: of the kernel in the network's state.
        shape: of the kernel.
        n: number of weights.
        n_kept: number of weights that stay.
    """

    name: str
    shape: tuple[int, ...]
    n: int
    n_kept: int

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {**asdict(self), "shape": list(self.shape)}


class Mask:
    """One boolean a prunable weight: true keeps it, false makes it zero. Immutable.

    Every Mask that exists was checked against a network: the same kernels, the same shapes, nothing but 0 and 1.

    Args:
        keep: by kernel name, boolean or uint8 tensors that hold only 0 and 1. They are copied.
        model: the network it is for. Its prunable kernels decide names, order and shapes.

    Raises:
        ValueError: a kernel is missing, unknown or of another shape, or a tensor holds something else than 0 and 1.
    """

    __slots__ = ("_keep",)

    def __init__(self, keep: Mapping[str, Tensor], model: nn.Module) -> None:
        _require_match({name: tuple(tensor.shape) for name, tensor in keep.items()}, model)
        for name, tensor in keep.items():
            _require_binary(name, tensor)
        ordered = {name: keep[name].detach().cpu().bool().clone() for name in prunable_parameters(model)}
        self._keep: Mapping[str, Tensor]
        object.__setattr__(self, "_keep", MappingProxyType(ordered))

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a Mask is immutable: {name} cannot be set")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mask):
            return NotImplemented
        return list(self._keep) == list(other._keep) and all(
            torch.equal(mine, other._keep[name]) for name, mine in self._keep.items()
        )

    def __repr__(self) -> str:
        return f"Mask(keeps {self.n_kept} of {self.n}, sparsity {self.sparsity:.4f})"

    @property
    def n(self) -> int:
        """Number of prunable weights."""
        return sum(tensor.numel() for tensor in self._keep.values())

    @property
    def n_kept(self) -> int:
        """Number of weights that stay."""
        return sum(row.n_kept for row in self.layers)

    @property
    def sparsity(self) -> float:
        """Removed weights as a share of the prunable ones, 0 to 1; 0 for a network without any."""
        return (self.n - self.n_kept) / self.n if self.n else 0.0

    @property
    def layers(self) -> tuple[LayerKept, ...]:
        """One row a kernel, in module order."""
        return tuple(
            LayerKept(name=name, shape=tuple(tensor.shape), n=tensor.numel(), n_kept=int(tensor.count_nonzero()))
            for name, tensor in self._keep.items()
        )

    def keep(self, name: str) -> Tensor:
        """A copy of one kernel's booleans: bool, the kernel's shape. KeyError for an unknown name."""
        return self._keep[name].clone()

    @torch.no_grad()
    def apply_(self, model: nn.Module) -> None:
        """Make the removed weights of `model` exactly zero, in place.

        Raises:
            ValueError: the network is another one than the mask was made for; nothing was changed.
        """
        _require_match({name: tuple(tensor.shape) for name, tensor in self._keep.items()}, model)
        for name, kernel in prunable_parameters(model).items():
            # Filling, not multiplying: the product of 0 and a negative number is -0.
            kernel.masked_fill_(~self._keep[name].to(kernel.device), 0)

    def to_dict(self) -> dict[str, Any]:
        """Counts, JSON-ready: what `save` writes beside the mask."""
        return {
            "schema_version": SCHEMA_VERSION,
            "n": self.n,
            "n_kept": self.n_kept,
            "sparsity": self.sparsity,
            "layers": [row.to_dict() for row in self.layers],
        }

    def save(self, path: Path) -> None:
        """Write the mask as safetensors, and its counts to the same name with the suffix .json.

        Raises:
            UserError: the disk is full or the folder cannot be written.
        """
        header = {_KEY: json.dumps({"schema_version": SCHEMA_VERSION})}
        tensors = {name: tensor.to(torch.uint8) for name, tensor in self._keep.items()}
        save_tensors(path, tensors, header)
        write_json(path.with_suffix(".json"), self.to_dict())

    @classmethod
    def load(cls, path: Path, model: nn.Module) -> Self:
        """Read a mask for `model`.

        Raises:
            UserError: no such file, not a mask, or a mask of another network.
        """
        if not path.is_file():
            raise UserError(f"{path}: no such file; give a mask that `wcr-med prune` wrote")
        try:
            tensors, texts = read_tensors(path)
        except (DamagedError, OSError) as error:
            raise UserError(f"{path}: {error}; prune again") from None
        header = texts.get(_KEY)
        if header != json.dumps({"schema_version": SCHEMA_VERSION}):
            raise UserError(f"{path}: not a mask of schema {SCHEMA_VERSION}; prune again with this version")
        try:
            return cls(tensors, model)
        except ValueError as error:
            raise UserError(f"{path}: {error}; give the mask that was made for this network") from None


def _require_match(shapes: Mapping[str, tuple[int, ...]], model: nn.Module) -> None:
    needed = {name: tuple(kernel.shape) for name, kernel in prunable_parameters(model).items()}
    for name in [*needed, *(name for name in shapes if name not in needed)]:
        if name not in shapes:
            raise ValueError(f"the mask has nothing for kernel {name}")
        if name not in needed:
            raise ValueError(f"the mask has {name}, which is no prunable kernel of the network")
        if shapes[name] != needed[name]:
            raise ValueError(f"the mask of {name} has shape {shapes[name]}, the kernel has {needed[name]}")


def _require_binary(name: str, tensor: Tensor) -> None:
    if tensor.dtype not in (torch.bool, torch.uint8):
        raise ValueError(f"the mask of {name} is {tensor.dtype}: bool or uint8 is needed")
    if tensor.dtype == torch.uint8 and bool((tensor > 1).any()):
        raise ValueError(f"the mask of {name} holds {int(tensor.max())}: only 0 and 1 are allowed")
