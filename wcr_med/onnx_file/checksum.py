"""The checksum in a model file: its last bytes hold the SHA-256 of all bytes before them.

To ONNX it is a metadata entry, `wcr_med.sha256`, which every runtime loads and none but this package's loader reads.
A second entry, `wcr_med.checksum`, is among the bytes that are summed up and says that there is one: so a file whose
checksum was itself damaged is not taken for a file without. It is against damage, not against intent: whoever changes
a file can write the checksum of what it is then. `python -m wcr_med.onnx_file seal FILE` does so.

Standard library only.
"""

import hashlib
import logging
import re
from collections.abc import Mapping
from pathlib import Path

from wcr_med.errors import UserError
from wcr_med.files import atomic_path
from wcr_med.onnx_file.wire import DamagedError, Meter, fields, fields_with_ends

CHECKSUM_KEY = "wcr_med.sha256"
"""Key of the last metadata entry; its value has 64 hexadecimal digits."""

PROMISE_KEY = "wcr_med.checksum"
"""Key of the entry that says that there is a checksum, and of what."""

SEAL_KEYS = (PROMISE_KEY, CHECKSUM_KEY)
"""Keys of the entries that `seal` writes."""

_PROMISE = f"sha256 of all bytes before the last entry, {CHECKSUM_KEY}"
_METADATA = 14  # field of ModelProto
_DIGITS = 64
_REMEDY = (
    "copy it again or export the network again; if you rewrote it on purpose, run "
    "`python -m wcr_med.onnx_file seal FILE`, which writes a new checksum"
)

_LOG = logging.getLogger(__name__)


def _entry(key: str, value: str) -> bytes:
    """A metadata entry as a field of ModelProto; key, value and both together are below 128 bytes."""
    pairs = [bytes([field << 3 | 2, len(text)]) + text.encode("ascii") for field, text in ((1, key), (2, value))]
    content = b"".join(pairs)
    return bytes([_METADATA << 3 | 2, len(content)]) + content


_PROMISE_ENTRY = _entry(PROMISE_KEY, _PROMISE)
_HEAD = _entry(CHECKSUM_KEY, "0" * _DIGITS)[:-_DIGITS]
_TAIL_BYTES = len(_HEAD) + _DIGITS

SEAL_BYTES = len(_PROMISE_ENTRY) + _TAIL_BYTES
"""What a checksum adds to a file."""


def seal(content: bytes) -> bytes:
    """A serialised ONNX model with a checksum at its end; an older one is replaced.

    Raises:
        DamagedError: the bytes are no message.
    """
    summed = unsealed(content) + _PROMISE_ENTRY
    return summed + _HEAD + hashlib.sha256(summed).hexdigest().encode("ascii")


def unsealed(content: bytes) -> bytes:
    """A serialised ONNX model without checksum, as it would be without this module.

    Raises:
        DamagedError: the bytes are no message.
    """
    message = memoryview(content)
    kept, start = [], 0
    for number, value, end in fields_with_ends(message, Meter()):
        if not (number == _METADATA and isinstance(value, memoryview) and _key(value) in SEAL_KEYS):
            kept.append(message[start:end])
        start = end
    return b"".join(kept)


def seal_file(path: Path) -> None:
    """Give a model file the checksum of what it holds now; all else stays as it is.

    Raises:
        UserError: no such file, cannot be read or written, or not an ONNX model.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give an ONNX file") from error
    try:
        sealed = seal(content)
    except DamagedError as error:
        raise UserError(f"{path}: not a whole ONNX model ({error}); give an ONNX file") from None
    with atomic_path(path) as temporary:
        temporary.write_bytes(sealed)


def checked_sha256(content: bytes, *, source: str) -> str | None:
    """The checksum at the end of a file, once the bytes before it have been found to have it.

    Args:
        content: the whole file.
        source: its path, for the message.

    Returns:
        64 hexadecimal digits; `None` where the file does not end with a checksum.

    Raises:
        UserError: the bytes have another one.
    """
    if content[-_TAIL_BYTES:-_DIGITS] != _HEAD:
        return None
    expected = content[-_DIGITS:]
    found = hashlib.sha256(memoryview(content)[:-_TAIL_BYTES]).hexdigest()
    if expected != found.encode("ascii"):
        raise UserError(
            f"{source}: not the ONNX file that was written: its checksum is not that of its content (a damaged copy, "
            f"or a file that another program rewrote); {_REMEDY}"
        )
    return found


def require_sealed_if_promised(metadata: Mapping[str, str], sha256: str | None, *, source: str) -> None:
    """Refuse a file that says that it has a checksum and has none at its end.

    Files of ours without either, from before there were checksums, are let through with a line in the log.

    Raises:
        UserError: the checksum is gone, damaged or elsewhere.
    """
    if sha256 is not None:
        return
    if metadata.keys() & set(SEAL_KEYS):
        raise UserError(
            f"{source}: not the ONNX file that was written: its checksum is not at its end (a damaged copy, or a file "
            f"that another program rewrote); {_REMEDY}"
        )
    if any(re.match(r"wcr_med\b", key) for key in metadata):
        _LOG.info("%s: holds no checksum, so that damage may go unnoticed; export the network again to get one", source)


def _key(entry: memoryview) -> str | None:
    """Of a metadata entry; `None` where the bytes are none."""
    try:
        keys = [bytes(value) for number, value in fields(entry, Meter()) if number == 1 and not isinstance(value, int)]
    except DamagedError:
        return None
    return keys[-1].decode("utf-8", "replace") if keys else None
