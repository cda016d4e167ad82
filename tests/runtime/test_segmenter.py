import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from torch import nn

from tests.exported import SIZE, sealed, small_volume
from wcr_med.errors import UserError
from wcr_med.evaluation import torch_predictor
from wcr_med.model_metadata import METADATA_KEY
from wcr_med.preprocess import PreprocessSettings, binarise
from wcr_med.runtime import Segmenter


@pytest.fixture(scope="module")
def segmenter(model_file: Path) -> Segmenter:
    return Segmenter.from_file(model_file, threads=1)


def test_equals_evaluation_through_pytorch(segmenter: Segmenter, network: nn.Module) -> None:
    volume = small_volume(seed=7, n_slices=9)
    predictor = torch_predictor(network, PreprocessSettings(height=SIZE, width=SIZE))
    expected_SHW = predictor(volume.image_SHWC)
    found_SHW = segmenter.probability(volume.image_SHWC)
    assert found_SHW.dtype == np.float32
    assert found_SHW.shape == volume.image_SHWC.shape[:3]
    assert 0.02 < (expected_SHW >= 0.5).mean() < 0.98  # a network that says something
    np.testing.assert_allclose(found_SHW, expected_SHW, atol=1e-4)
    far_SHW = np.abs(expected_SHW - 0.5) > 1e-4
    np.testing.assert_array_equal(segmenter.mask(volume.image_SHWC)[far_SHW], binarise(expected_SHW, 0.5)[far_SHW])


def test_batches_do_not_change_the_answer(segmenter: Segmenter) -> None:
    image_SHWC = small_volume(n_slices=7).image_SHWC
    whole_SHW = segmenter.probability(image_SHWC, batch_size=7)
    np.testing.assert_allclose(segmenter.probability(image_SHWC, batch_size=2), whole_SHW, atol=1e-6)


def test_the_threshold_itself_is_foreground(segmenter: Segmenter) -> None:
    probability = np.array([0.0, np.nextafter(np.float32(0.5), np.float32(0)), 0.5, 1.0], np.float32)
    assert segmenter.binarise(probability).tolist() == [0, 0, 1, 1]
    assert segmenter.binarise(probability).dtype == np.uint8


def test_metadata_travel_with_the_file(segmenter: Segmenter) -> None:
    assert segmenter.metadata.split_hash == "0123abcd"
    assert segmenter.metadata.preprocess == PreprocessSettings(height=SIZE, width=SIZE)


def test_an_empty_volume_is_answered(segmenter: Segmenter) -> None:
    probability_SHW = segmenter.probability(np.zeros((2, 20, 24, 3), np.uint8))
    assert probability_SHW.shape == (2, 20, 24)
    assert np.isfinite(probability_SHW).all()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((2, 20, 20, 1), np.uint8), "1 channels"),
        (np.zeros((20, 20, 3), np.uint8), "shape"),
        (np.zeros((0, 20, 20, 3), np.uint8), "shape"),
        (np.full((1, 20, 20, 3), np.nan, np.float32), "NaN"),
    ],
)
def test_bad_images(segmenter: Segmenter, image: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        segmenter.probability(image)


def rewritten(source: Path, target: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    model = onnx.load(source)
    change(model)
    target.write_bytes(sealed(model))
    return target


def refused(path: Path, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        Segmenter.from_file(path, threads=1)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    assert "ONNXRuntimeError" not in text


def test_no_such_file(tmp_path: Path) -> None:
    refused(tmp_path / "none.onnx", "no such file")
    refused(tmp_path, "no such file")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.5, 0.9, 0.999])
def test_a_truncated_file(model_file: Path, tmp_path: Path, share: float) -> None:
    content = model_file.read_bytes()
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(content[: int(share * len(content))])
    refused(bad, "not a whole ONNX model|no wcr-med metadata")


def test_every_truncation_is_refused(model_file: Path, tmp_path: Path) -> None:
    content = model_file.read_bytes()
    bad = tmp_path / "bad.onnx"
    for end in range(0, len(content), 97):
        bad.write_bytes(content[:end])
        with pytest.raises(UserError, match=r"ONNX|metadata"):
            Segmenter.from_file(bad, threads=1)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n" + bytes(200), b"hello\n" * 50, bytes(1000)])
def test_what_is_not_onnx(tmp_path: Path, content: bytes) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(content)
    refused(bad, "not a whole ONNX model")


def test_a_file_without_metadata(model_file: Path, tmp_path: Path) -> None:
    def strip(model: onnx.ModelProto) -> None:
        del model.metadata_props[:]

    refused(rewritten(model_file, tmp_path / "m.onnx", strip), "no wcr-med metadata")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "classification"}, "'classification'"),
        ({"schema_version": 7}, "schema 7"),
        ({"in_channels": 4, "channel_files": None}, "promise"),
        ({"preprocess": {**PreprocessSettings().to_dict(), "height": 64}}, "promise"),
        ({"threshold": 2.0}, "threshold"),
    ],
)
def test_other_metadata(model_file: Path, tmp_path: Path, changes: dict[str, object], message: str) -> None:
    def change(model: onnx.ModelProto) -> None:
        entry = next(entry for entry in model.metadata_props if entry.key == METADATA_KEY)
        entry.value = json.dumps({**json.loads(entry.value), **changes})

    refused(rewritten(model_file, tmp_path / "m.onnx", change), re.escape(message))


def test_other_inputs_and_outputs(model_file: Path, tmp_path: Path) -> None:
    def rename(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            node.input[:] = ["picture" if name == "image" else name for name in node.input]
        model.graph.input[0].name = "picture"

    def extra(model: onnx.ModelProto) -> None:
        model.graph.input.append(onnx.helper.make_tensor_value_info("age", onnx.TensorProto.FLOAT, [1]))

    def without_probability(model: onnx.ModelProto) -> None:
        del model.graph.output[1]

    refused(rewritten(model_file, tmp_path / "a.onnx", rename), "image, picture")
    refused(rewritten(model_file, tmp_path / "b.onnx", extra), "age")
    refused(rewritten(model_file, tmp_path / "c.onnx", without_probability), "probability")


def test_an_operator_that_is_not_there(model_file: Path, tmp_path: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        model.graph.node[-1].op_type = "Nonsense"

    refused(rewritten(model_file, tmp_path / "m.onnx", change), "the operator 'Nonsense', which no network of ours has")


def test_a_graph_that_fails_while_running(model_file: Path, tmp_path: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        # Loads, since the number of slices is free, and then fits one slice alone.
        shape = np.array([1, 1, SIZE, SIZE], np.int64)
        model.graph.initializer.append(onnx.numpy_helper.from_array(shape, "one"))
        old = model.graph.node[-1].output[0]
        model.graph.node[-1].output[0] = "free"
        model.graph.node.append(onnx.helper.make_node("Reshape", ["free", "one"], [old]))

    segmenter = Segmenter.from_file(rewritten(model_file, tmp_path / "m.onnx", change), threads=1)
    with pytest.raises(UserError, match="cannot run it"):
        segmenter.probability(small_volume(n_slices=3).image_SHWC)


def test_a_call_answers_with_mask_probability_and_volume(segmenter: Segmenter) -> None:
    image_SHWC = small_volume(n_slices=5).image_SHWC
    result = segmenter(image_SHWC, spacing=(5.0, 0.5, 2.0), batch_size=16)
    np.testing.assert_array_equal(result.probability, segmenter.probability(image_SHWC))
    np.testing.assert_array_equal(result.mask, segmenter.mask(image_SHWC))
    assert (result.mask.dtype, result.probability.dtype) == (np.uint8, np.float32)
    assert result.threshold == 0.5
    assert result.n_voxels == result.mask.sum() > 0
    assert result.n_slices_with_lesion == result.mask.any(axis=(1, 2)).sum()
    assert result.volume_ml == pytest.approx(result.n_voxels * 5 / 1000)
    assert segmenter(image_SHWC).volume_ml is None


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (1.0, 0.0, 1.0), (1.0, -1.0, 1.0), (1.0, np.nan, 1.0), "abc", 3.0])
def test_a_spacing_that_is_none(segmenter: Segmenter, spacing: object) -> None:
    with pytest.raises(UserError, match="three positive numbers"):
        segmenter(small_volume(n_slices=2).image_SHWC, spacing=spacing)


def test_views_and_every_number_type_are_taken(segmenter: Segmenter) -> None:
    image_SHWC = small_volume(n_slices=3).image_SHWC
    expected = segmenter(image_SHWC).probability
    for dtype in (np.int16, np.uint16, np.int32, np.int64, np.float16, np.float32, np.float64):
        np.testing.assert_allclose(segmenter(image_SHWC.astype(dtype)).probability, expected, atol=1e-6)
    planar = np.moveaxis(np.ascontiguousarray(np.moveaxis(image_SHWC, -1, 0)), 0, -1)
    np.testing.assert_array_equal(segmenter(planar).probability, expected)
    np.testing.assert_array_equal(segmenter(image_SHWC[::-1]).mask, segmenter(image_SHWC).mask[::-1])


def test_many_threads_get_the_answer_that_one_would(segmenter: Segmenter) -> None:
    images = [small_volume(seed=seed, n_slices=4).image_SHWC for seed in range(6)]
    alone = [segmenter(image_SHWC).probability for image_SHWC in images]
    with ThreadPoolExecutor(max_workers=8) as pool:
        together = list(pool.map(lambda number: segmenter(images[number % 6]).probability, range(48)))
    for number, probability_SHW in enumerate(together):
        np.testing.assert_array_equal(probability_SHW, alone[number % 6])


class Held:
    """A session whose runs wait until they are let go."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self.session, self.begun, self.let_go = session, threading.Event(), threading.Event()

    def run(self, *arguments: object) -> object:
        self.begun.set()
        assert self.let_go.wait(20)
        return self.session.run(*arguments)


def test_close_waits_for_calls_that_run_and_refuses_others(model_file: Path) -> None:
    image_SHWC = small_volume(n_slices=5).image_SHWC
    segmenter = Segmenter.from_file(model_file, threads=1)
    expected = segmenter(image_SHWC).probability
    assert segmenter._session is not None
    held = Held(segmenter._session)
    segmenter._session = held  # type: ignore[assignment]
    with ThreadPoolExecutor(max_workers=4) as pool:
        calls = [pool.submit(segmenter, image_SHWC, batch_size=1) for _ in range(2)]
        assert held.begun.wait(20)
        while segmenter._n_running < 2:
            time.sleep(0.01)
        closing = pool.submit(segmenter.close)
        while segmenter._session is not None:
            time.sleep(0.01)
        with pytest.raises(ValueError, match="closed"):
            segmenter(image_SHWC)
        assert not closing.done()
        held.let_go.set()
        for call in calls:  # all five batches
            np.testing.assert_array_equal(call.result(20).probability, expected)
        assert closing.result(20) is None
    segmenter.close()


def test_a_call_that_fails_does_not_keep_close_waiting(model_file: Path) -> None:
    segmenter = Segmenter.from_file(model_file, threads=1)
    with pytest.raises(UserError, match="channels"):
        segmenter(np.zeros((2, 20, 20, 1), np.uint8))
    segmenter.close()


def test_an_iterator_that_was_begun_is_read_to_its_end(model_file: Path) -> None:
    image_SHWC = small_volume(n_slices=3).image_SHWC
    with Segmenter.from_file(model_file, threads=1) as segmenter:
        expected = segmenter.probability(image_SHWC)
        batches = segmenter.batches(image_SHWC, segmenter.survey(image_SHWC), batch_size=1)
        found = [next(batches)[1]]
    found += [batch_SHW for _, batch_SHW in batches]
    np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-6)


def test_a_closed_segmenter_says_so(model_file: Path) -> None:
    image_SHWC = small_volume(n_slices=2).image_SHWC
    with Segmenter.from_file(str(model_file), threads=1) as segmenter:
        assert segmenter(image_SHWC).mask.shape == image_SHWC.shape[:3]
        known = segmenter.survey(image_SHWC)
    segmenter.close()
    for use in (
        lambda: segmenter(image_SHWC),
        lambda: segmenter.mask(image_SHWC),
        lambda: next(segmenter.batches(image_SHWC, known)),
    ):
        with pytest.raises(ValueError, match=r"tiny\.onnx is closed; open the file again"):
            use()


def test_arithmetic_of_the_caller_is_left_alone(model_file: Path) -> None:
    program = (
        "import sys, numpy as np; from wcr_med.runtime import Segmenter;"
        "tiny = lambda: float(np.float32(1e-38) * np.float32(0.1)); before = tiny();"
        "segment = Segmenter.from_file(sys.argv[1], threads=1);"
        "segment(np.random.default_rng(0).integers(0, 255, (2, 40, 40, 3)).astype(np.uint8));"
        "assert before > 0 and tiny() == before"
    )
    subprocess.run([sys.executable, "-c", program, str(model_file)], check=True)


def test_an_answer_of_another_size_is_refused(segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    class Odd:
        def run(self, *_: object) -> list[np.ndarray]:
            return [np.zeros((2, 1, SIZE, SIZE - 1), np.float32)]

    monkeypatch.setattr(segmenter, "_session", Odd())
    with pytest.raises(UserError, match=r"answers with an array of \(2, 1, 32, 31\) where its metadata promise"):
        segmenter.probability(np.ones((2, 20, 20, 3), np.uint8))
