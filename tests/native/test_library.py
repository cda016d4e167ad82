import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from wcr_med import native
from wcr_med.errors import UserError


def test_absent_library_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_LIBRARY", tmp_path / "libwcr_med_ops.so")
    assert not native.is_available()
    with pytest.raises(UserError, match=r"not built .*libwcr_med_ops\.so is absent.*install a C\+\+17 compiler"):
        native.get_library_path()


@pytest.mark.skipif(not native.is_available(), reason="the accelerator was not built")
def test_library_shows_one_symbol_and_needs_no_cpp_runtime() -> None:
    path = native.get_library_path()
    assert path.is_file()
    if sys.platform != "linux" or shutil.which("nm") is None or shutil.which("readelf") is None:
        pytest.skip("no nm and readelf")
    symbols = subprocess.run(["nm", "-D", "--defined-only", path], capture_output=True, text=True, check=True).stdout
    assert [line.split()[-1] for line in symbols.splitlines()] == ["RegisterCustomOps"]
    needed = subprocess.run(["readelf", "-d", path], capture_output=True, text=True, check=True).stdout
    assert "onnxruntime" not in needed
    if "libstdc++" in needed:
        pytest.skip("built by a compiler that does not link its library statically")


# ELF64, little-endian, by its specification: https://refspecs.linuxfoundation.org/elf/gabi4+/contents.html
PT_DYNAMIC, PT_GNU_STACK, PT_GNU_RELRO = 2, 0x6474E551, 0x6474E552
DT_FLAGS, DT_FLAGS_1, BIND_NOW, NOW, EXECUTE = 30, 0x6FFFFFFB, 8, 1, 1


def hardening(content: bytes) -> dict[str, bool]:
    """What the program headers and the dynamic section of a library say."""
    assert content[:6] == b"\x7fELF\x02\x01"
    (offset,) = struct.unpack_from("<Q", content, 32)
    size, number = struct.unpack_from("<HH", content, 54)
    headers = [struct.unpack_from("<IIQQQQ", content, offset + size * place) for place in range(number)]
    dynamic = next(content[start : start + length] for kind, _, start, _, _, length in headers if kind == PT_DYNAMIC)
    tags = dict(struct.iter_unpack("<QQ", dynamic))
    stack = [flags for kind, flags, *_ in headers if kind == PT_GNU_STACK]
    return {
        "relro": any(kind == PT_GNU_RELRO for kind, *_ in headers),
        "now": bool(tags.get(DT_FLAGS, 0) & BIND_NOW or tags.get(DT_FLAGS_1, 0) & NOW),
        "no code on the stack": len(stack) == 1 and not stack[0] & EXECUTE,
        "stack protector": b"__stack_chk_fail" in content,
    }


@pytest.mark.skipif(not native.is_available() or sys.platform != "linux", reason="no library, or not an ELF file")
def test_the_library_is_hardened() -> None:
    found = hardening(native.get_library_path().read_bytes())
    assert all(found.values()), f"{found}: built by other flags; `make install` builds it again"


def test_the_build_asks_for_checked_calls_of_the_c_library() -> None:
    # Whether a compiler makes use of it depends on the calls; the flag is what can be held.
    text = Path(native.__file__).with_name("CMakeLists.txt").read_text(encoding="utf-8")
    options = " ".join(re.findall(r"target_compile_options\(wcr_flags INTERFACE ([^)]*)\)", text))
    # In this order, and both as options: of a definition and an option CMake puts the definition first.
    assert re.search(r"-U_FORTIFY_SOURCE\b.*-D_FORTIFY_SOURCE=2\b", options)
    assert "target_compile_definitions(wcr_flags" not in text
    assert "-fstack-protector-strong" in text
