"""Tensors on disk: one safetensors file with texts in its header, sealed by a digest of all that it holds.

Reading it runs no code.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from wcr_med.files import SEAL, atomic_path, is_seal, note_unsealed


class DamagedError(ValueError):
    """A file is no whole safetensors file, or is not as it was written; the message says which, without its name."""


def save_tensors(path: Path, tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> None:
    """Write `content_of` to a file, usually `<name>.safetensors`, whole or not at all.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    content = content_of(tensors, texts)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def content_of(tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> bytes:
    """The bytes of a file with tensors, texts and their digest.

    Args:
        tensors: of any dtype, none of which share memory; stored row-major.
        texts: by name, for the header.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return safetensors.torch.save(plain, {**texts, SEAL: seal_of_tensors(plain, texts)})


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read what `save_tensors` wrote. A file of an older version has no digest: a log line says so.

    Returns:
        Tensors on the CPU, and the texts of the header.

    Raises:
        DamagedError: not a whole safetensors file, or the digest does not fit.
        OSError: the file cannot be opened.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as stream:
            texts = dict(stream.metadata() or {})
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - not a dictionary
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise DamagedError(f"not a whole safetensors file ({error})") from None
    seal = texts.pop(SEAL, None)
    if seal is None and not any(is_seal(text) for text in texts.values()):
        note_unsealed(path)
    elif seal != seal_of_tensors(tensors, texts):
        raise DamagedError("was changed or damaged after it was written, its SHA-256 does not fit")
    return tensors, texts


def seal_of_tensors(tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> str:
    """The digest over names, dtypes, shapes and bytes of tensors, and over texts; as `wcr_med.files.SEAL` holds it."""
    digest = hashlib.sha256(json.dumps(sorted(texts.items())).encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return f"sha256:{digest.hexdigest()}"
