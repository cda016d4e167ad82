import dataclasses
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

from wcr_med.config import DataConfig, EvaluationConfig
from wcr_med.data.index import index_patients
from wcr_med.errors import UserError
from wcr_med.evaluation import evaluate_patients
from wcr_med.report import LadderRow, PatientCase, Score, draw_patients, draw_sparsity, load_cases, pick_patients


def rung(sparsity, value, *, repair=(), spread=0.05):
    bounds = (None, None) if spread is None else (value - spread, value + spread)
    score = Score(value=value, low=bounds[0], high=bounds[1], n_patients=9, method="BCa")
    return LadderRow(sparsity=sparsity, repair=repair, threshold=0.5, dice_patient=score, f1_pooled=score)


def case(label, reference_SHW, prediction_SHW, *, channels=3, aspect=1.0):
    shape = (*reference_SHW.shape, channels)
    image_SHWC = np.random.default_rng(0).integers(0, 200, shape, dtype=np.uint8)
    return PatientCase(
        label=label,
        patient_id=f"patient {label}",
        dice=0.5,
        image_SHWC=image_SHWC,
        reference_SHW=reference_SHW,
        prediction_SHW=prediction_SHW,
        pixel_aspect=aspect,
    )


def check_pair(paths):
    svg, png = paths
    assert ET.parse(svg).getroot().tag.endswith("svg")
    with Image.open(png) as image:
        image.load()
        assert min(image.size) > 50
        assert np.asarray(image.convert("L")).std() > 5  # something is drawn
    return svg, png


@pytest.mark.parametrize("spread", [0.05, None])
def test_sparsity_is_drawn_and_the_same_facts_give_the_same_file(tmp_path, spread):
    ladder = [
        rung(s, 0.8 - 0.5 * s, repair=r, spread=spread)
        for s in (0.0, 0.5, 0.9, 0.98)
        for r in ((), ("reestimate_statistics",))
    ]
    svg, png = check_pair(draw_sparsity(ladder, tmp_path / "new" / "sparsity"))
    assert (svg.name, png.name) == ("sparsity.svg", "sparsity.png")
    again, _ = draw_sparsity(ladder[::-1], tmp_path / "again")
    assert again.read_bytes() == svg.read_bytes()


def test_sparsity_without_repair_and_with_a_missing_score(tmp_path):
    check_pair(draw_sparsity([rung(0.5, 0.7), rung(0.9, float("nan"), spread=None)], tmp_path / "sparsity"))


def outlines(monkeypatch):
    """Record every outline: colour, line style, and the mask without its rim."""
    drawn = []
    contour = Axes.contour

    def record(self, columns, rows, values, **arguments):
        drawn.append((arguments["colors"][0], arguments["linestyles"][0], np.asarray(values)[1:-1, 1:-1]))
        return contour(self, columns, rows, values, **arguments)

    monkeypatch.setattr(Axes, "contour", record)
    return drawn


def test_reference_and_prediction_are_told_apart_twice(tmp_path, monkeypatch, make_square):
    drawn = outlines(monkeypatch)
    reference_SHW, prediction_SHW = make_square(4, 10), make_square(6, 10)
    check_pair(draw_patients([case("Best", reference_SHW, prediction_SHW)], tmp_path / "patients"))
    (reference, prediction) = drawn
    assert reference[0] != prediction[0]
    assert (reference[1], isinstance(prediction[1], tuple)) == ("solid", True)
    np.testing.assert_array_equal(reference[2], reference_SHW[1])
    np.testing.assert_array_equal(prediction[2], prediction_SHW[1])


def test_the_slice_with_the_largest_lesion_is_shown(tmp_path, monkeypatch, make_square):
    drawn = outlines(monkeypatch)
    reference_SHW = make_square(4, 10)
    reference_SHW[2, 20:28, 8:28] = 1
    draw_patients([case("Best", reference_SHW, reference_SHW)], tmp_path / "patients")
    np.testing.assert_array_equal(drawn[0][2], reference_SHW[2])


@pytest.mark.parametrize(
    ("sequences", "shown"),
    [(("pre-contrast", "FLAIR", "post-contrast"), 1), (("t1", "t2", "flair"), 2), (("t1", "t2"), 0), (("t1",), 0)],
)
def test_the_sequence_named_flair_is_the_background(tmp_path, monkeypatch, make_square, sequences, shown):
    images = []
    imshow = Axes.imshow
    monkeypatch.setattr(Axes, "imshow", lambda self, image, **a: images.append(image) or imshow(self, image, **a))
    drawn = case("Best", make_square(4, 10), make_square(4, 10), channels=len(sequences), aspect=2.0)
    drawn = dataclasses.replace(drawn, sequences=sequences)
    draw_patients([drawn], tmp_path / "patients")
    assert len(images) == 2  # bare, and under the outlines
    np.testing.assert_array_equal(images[0], drawn.image_SHWC[1, :, :, shown])


@pytest.mark.parametrize("known", [True, False])
def test_sides_scale_and_notice_are_drawn(tmp_path, monkeypatch, make_square, known):
    written = []
    text = Axes.text
    monkeypatch.setattr(Axes, "text", lambda self, x, y, s, *g, **a: written.append(s) or text(self, x, y, s, *g, **a))
    patient = case("Best", make_square(4, 10), make_square(4, 10))
    patient = dataclasses.replace(patient, sides_known=known, column_mm=0.5 if known else None)
    draw_patients([patient], tmp_path / "patients")
    assert set(written) >= ({"R", "L"} if known else {"sides unknown"})
    assert "research use only" in written
    assert any(words.endswith(" mm" if known else " px") for words in written)


def test_every_outline_is_in_view(tmp_path, monkeypatch, make_square):
    limits = []
    set_ylim = Axes.set_ylim
    monkeypatch.setattr(Axes, "set_ylim", lambda self, *given, **a: limits.append(given) or set_ylim(self, *given, **a))
    reference_SHW = make_square(12, 4)
    prediction_SHW = np.zeros_like(reference_SHW)
    prediction_SHW[1, :2, :2] = 1  # a false alarm in a corner, far from the head
    patient = case("Worst", reference_SHW, prediction_SHW)
    patient.image_SHWC[:] = 0
    patient.image_SHWC[:, 10:20, 6:16] = 200
    check_pair(draw_patients([patient], tmp_path / "patients"))
    bottom, top = limits[-1]
    assert top < 0 < 19 < bottom


def test_a_miss_a_false_alarm_and_a_black_image_are_drawn(tmp_path, make_square):
    lesion, empty = make_square(0, 8), make_square(0, 0)
    black = case("Worst", empty, empty)
    black.image_SHWC[:] = 0
    check_pair(
        draw_patients([case("Best", lesion, empty), case("Median", empty, lesion), black], tmp_path / "patients")
    )


def test_nothing_to_draw_is_said(tmp_path):
    _, png = check_pair(draw_patients([], tmp_path / "patients"))
    assert png.exists()


@pytest.mark.parametrize(
    ("shifts", "expected"),
    [
        ([], []),
        ([None, None], []),
        ([3], [("Only", "a")]),
        ([3, 1], [("Best", "b"), ("Worst", "a")]),
        ([3, 0, 1, None], [("Best", "b"), ("Median", "c"), ("Worst", "a")]),
        ([3, 0, 1, 2], [("Best", "b"), ("Median", "d"), ("Worst", "a")]),
    ],
)
def test_best_median_and_worst(make_result, shifts, expected):
    assert [(label, name) for label, name, _ in pick_patients(make_result(shifts))] == expected


def test_cases_are_read_from_files(phantom_root: Path, tmp_path):
    entries = index_patients(DataConfig(root=phantom_root))[:3]
    result = evaluate_patients(
        lambda image_SHWC: (image_SHWC[..., 1] > 120).astype(np.float32),
        entries,
        threshold=0.5,
        config=EvaluationConfig(resamples=20),
        distances=False,
        keep=tmp_path,
    )
    cases = load_cases(result, entries, tmp_path)
    assert {(c.patient_id, c.dice) for c in cases} == {(name, dice) for _, name, dice in pick_patients(result)}
    for found in cases:
        np.testing.assert_array_equal(found.prediction_SHW, found.image_SHWC[..., 1] > 120)
        assert found.pixel_aspect == 1.0
    with pytest.raises(UserError, match="no longer in the data"):
        load_cases(result, [], tmp_path)
