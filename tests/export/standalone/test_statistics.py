"""Statistics and frame in the graph are those of wcr_med.preprocess, to the last bit."""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from tests.exported import open_session, small_volume
from wcr_med.export.standalone.framing import resampling
from wcr_med.export.standalone.statistics import measure, percentile
from wcr_med.export.standalone.writing import GraphWriter, Tensor, value_info
from wcr_med.preprocess import PreprocessSettings, prepare

Array = npt.NDArray[Any]


def run(writer: GraphWriter, feed: dict[str, Array], given: Tensor, outputs: list[tuple[Tensor, int]]) -> list[Array]:
    """Run what was written; outputs with their ranks."""
    graph = helper.make_graph(
        writer.nodes,
        "test",
        [value_info(given, feed[given.name].shape)],
        [value_info(tensor, [None] * rank) for tensor, rank in outputs],
        list(writer.constants.values()),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    results: list[Array] = open_session(model).run([tensor.name for tensor, _ in outputs], feed)
    return results


@given(
    values=st.lists(st.integers(0, 255), min_size=1, max_size=60),
    percent=st.sampled_from([0.0, 0.5, 1.0, 33.3, 50.0, 99.0, 99.9, 100.0]),
)
@settings(max_examples=40, deadline=None)
def test_percentile_is_numpys(values: list[int], percent: float) -> None:
    counts_CV = np.bincount(values, minlength=256)[None].astype(np.int64)
    writer = GraphWriter("s")
    counts = writer.tensor(np.int64, "counts")
    (found,) = run(writer, {"counts": counts_CV}, counts, [(percentile(counts, percent), 1)])
    expected = np.percentile(np.array(values, dtype=np.uint8), percent)
    assert found.dtype == np.float64
    assert found[0] == expected


def test_percentile_of_nothing_is_zero() -> None:
    writer = GraphWriter("s")
    counts = writer.tensor(np.int64, "counts")
    (found,) = run(writer, {"counts": np.zeros((2, 256), np.int64)}, counts, [(percentile(counts, 99), 1)])
    assert found.tolist() == [0, 0]


def images() -> dict[str, Array]:
    """Volumes of every odd kind."""
    rng = np.random.default_rng(5)
    noise = rng.integers(0, 256, (3, 17, 23, 3), dtype=np.uint8)
    constant = small_volume().image_SHWC.copy()
    constant[..., 1] = 0
    constant[..., 2] = 90
    corner = np.zeros((2, 20, 20, 1), np.uint8)
    corner[1, 19, 0, 0] = 7
    return {
        "disc": small_volume(n_slices=5, size=40).image_SHWC,
        "large": small_volume(n_slices=2, size=150, channels=4, seed=3).image_SHWC,
        "noise": noise,
        "one pixel": noise[:1, :1, :1],
        "one row": noise[:, :1],
        "empty": np.zeros((2, 9, 12, 3), np.uint8),
        "full": np.full((2, 9, 12, 3), 255, np.uint8),
        "missing sequences": constant,
        "a corner": corner,
    }


@pytest.mark.parametrize("crop", ["head", "none"])
@pytest.mark.parametrize("name", list(images()))
def test_what_is_measured_is_the_same_to_the_last_bit(name: str, crop: Any) -> None:
    image_SHWC = images()[name]
    chosen = PreprocessSettings(height=16, width=24, crop=crop, low_percentile=2.5, high_percentile=98.0)
    expected = prepare(image_SHWC, chosen)

    writer = GraphWriter("s")
    image = writer.tensor(np.uint8, "image")
    found = measure(writer, image, chosen, image_SHWC.shape[3])
    matrices = resampling(writer, found, chosen)
    both = [matrices.down_hH, matrices.across_Ww, matrices.back_down_Hh, matrices.back_across_wW]
    outputs = [(found.centre_C, 1), (found.spread_C, 1), *((matrix, 2) for matrix in both)]
    centre_C, spread_C, *resamplings = run(writer, {"image": image_SHWC}, image, outputs)

    np.testing.assert_array_equal(centre_C, expected.centre_C)
    np.testing.assert_array_equal(spread_C, expected.spread_C)
    # The frame's matrices are what it makes of unit images.
    n_rows, n_columns = image_SHWC.shape[1:3]
    frame = expected.frame
    down_hH, across_Ww, back_down_Hh, back_across_wW = resamplings
    for resample, rows, columns, down, across in (
        (frame.to_network, n_rows, n_columns, down_hH, across_Ww),
        (frame.to_native, 16, 24, back_down_Hh, back_across_wW),
    ):
        lit = np.unique(np.linspace(0, rows * columns - 1, 50, dtype=np.int64))
        units = np.zeros((lit.size, rows, columns), dtype=np.float32)
        units.reshape(lit.size, -1)[np.arange(lit.size), lit] = 1
        np.testing.assert_array_equal(down @ units @ across, resample(units))
