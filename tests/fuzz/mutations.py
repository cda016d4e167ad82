"""Damage to files: bytes changed, removed, repeated, lengths made absurd. Drawn by hypothesis, applied by `damaged`."""

from hypothesis import strategies as st

Mutation = tuple[str, int, bytes]

_ODD = (b"\x00", b"\xff", b"\x7f", b"\x80", b"\x00" * 8, b"\xff" * 8, b"\xff\xff\xff\xff\x07", b"\x00\x00\xc0\x7f")
_CONTENTS = st.one_of(st.sampled_from(_ODD), st.binary(min_size=1, max_size=12))
# Whole numbers: a process in which ONNX Runtime has run may know no denormal floats, which hypothesis would draw.
_PARTS = 1_000_000
_PLACES = st.integers(0, _PARTS - 1)

mutations = st.lists(
    st.tuples(st.sampled_from(["set", "set", "set", "flip", "cut", "insert", "remove", "repeat"]), _PLACES, _CONTENTS),
    min_size=1,
    max_size=6,
)


def damaged(content: bytes, changes: list[Mutation], *, within: int | None = None) -> bytes:
    """The content after some changes.

    Args:
        content: of a good file.
        changes: what, where (in millionths of the length), and with which bytes.
        within: the first bytes alone are damaged: a header.
    """
    for what, place, piece in changes:
        extent = min(within or len(content), len(content))
        at = place * extent // _PARTS
        if what == "set":
            content = content[:at] + piece + content[at + len(piece) :]
        elif what == "flip" and at < len(content):
            content = content[:at] + bytes([content[at] ^ (1 << (piece[0] % 8))]) + content[at + 1 :]
        elif what == "cut":
            content = content[:at]
        elif what == "insert":
            content = content[:at] + piece + content[at:]
        elif what == "remove":
            content = content[:at] + content[at + len(piece) :]
        elif what == "repeat":
            content = content[:at] + content[at : at + 200] + content[at:]
    return content
