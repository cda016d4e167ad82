import shutil
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
