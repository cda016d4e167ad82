"""What an export would give, before it is made."""

from pathlib import Path

import onnx
import pytest

from tests.exported import export_small, small_artefact, small_network, small_volume
from wcr_med import native
from wcr_med.config import ExportConfig
from wcr_med.errors import UserError
from wcr_med.export import measure, measure_export
from wcr_med.export.sessions import open_session


@pytest.mark.parametrize("storage", ["auto", "dense"])
def test_the_size_is_that_of_the_exported_file(tmp_path: Path, storage: str) -> None:
    model = small_network()
    result = export_small(tmp_path / "network.onnx", model, storage=storage)
    measured = measure_export(model, small_artefact(), ExportConfig(storage=storage))
    assert measured.size_bytes == result.size_bytes
    assert measured.latency_ms is None


@pytest.mark.skipif(not native.is_available(), reason="the accelerator was not built")
@pytest.mark.parametrize("faster", [True, False])
def test_the_file_that_would_be_used_is_timed(monkeypatch: pytest.MonkeyPatch, faster: bool) -> None:
    fused, runs = [], []

    def spy(path: Path, *, threads: int):
        fused.append(any(node.domain == native.DOMAIN for node in onnx.load(path).graph.node))
        assert threads == 1
        return open_session(path, threads=threads)

    def clock(functions, rounds: int) -> list[float]:
        runs.append(rounds)
        functions[0]()
        return [7.0]

    times = {"dense": [2.0] * 15, "tried": [1.0 if faster else 3.0] * 15}
    monkeypatch.setattr("wcr_med.export.accelerate.time_in_turn", lambda *_: times)
    monkeypatch.setattr(measure, "open_session", spy)
    monkeypatch.setattr(measure, "interleaved", clock)
    config = ExportConfig(accelerate_rounds=1)
    measured = measure_export(small_network(), small_artefact(), config, timed_on=small_volume())
    assert measured.latency_ms == 7.0
    assert fused == [faster]
    assert runs == [25]


def test_without_the_accelerator_no_time_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(native, "_LIBRARY", tmp_path / "absent.so")
    assert measure_export(small_network(), small_artefact(), ExportConfig()).latency_ms is None
    with pytest.raises(UserError, match="was not built"):
        measure_export(small_network(), small_artefact(), ExportConfig(), timed_on=small_volume())
