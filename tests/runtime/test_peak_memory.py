"""Memory of a process of its own."""

import sys
from pathlib import Path

import numpy as np
import pytest

from tests.exported import SIZE
from wcr_med.runtime.peak_memory import measure_peak_memory, own_peak

FEED = {
    "image": np.zeros((1, 3, SIZE, SIZE), np.float32),
    "centre": np.zeros(3, np.float32),
    "spread": np.ones(3, np.float32),
}


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_the_memory_is_the_childs_own(model_file: Path) -> None:
    large = np.ones(800_000_000, np.uint8)  # of this process, not of the child
    peak, own = measure_peak_memory(model_file, FEED), own_peak()
    assert peak is not None
    assert own is not None
    assert own > large.nbytes
    assert 10e6 < peak < large.nbytes


def test_a_file_that_does_not_run_has_none(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    assert measure_peak_memory(tmp_path / "broken.onnx", FEED) is None
