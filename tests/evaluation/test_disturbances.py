import itertools

import numpy as np
import pytest
import torch
from monai.transforms import AdjustContrast, GaussianSmooth, RandBiasField

from wcr_med.errors import UserError
from wcr_med.evaluation import disturbances as d

NAMES = tuple(d.UNITS)


@pytest.fixture
def image():
    """A head of three sequences in dark air."""
    rng = np.random.default_rng(0)
    image = np.zeros((6, 32, 32, 3), np.uint8)
    image[:, 6:26, 6:26] = rng.normal((60, 120, 180), (10, 20, 5), (6, 20, 20, 3))
    return image


def copies(name, image, *, patient_id="a", seed=0, flair_channel=1):
    return list(d.variants(name, image, patient_id=patient_id, seed=seed, flair_channel=flair_channel))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_shape_dtype_and_range_stay(image, name, dtype):
    image = image.astype(dtype)
    before = image.copy()
    found = copies(name, image)
    assert len(found) == d.n_variants(name, 3)
    for variant in found:
        assert variant.image_SHWC.shape == image.shape
        assert variant.image_SHWC.dtype == dtype
        assert variant.image_SHWC.min() >= 0
        assert np.isfinite(variant.image_SHWC).all()
        assert not np.array_equal(variant.image_SHWC, image)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("name", NAMES)
def test_strengths_rise_and_so_does_the_change(image, name):
    image = image.astype(np.float32)
    found = copies(name, image)
    strengths = [variant.strength for variant in found]
    assert strengths == sorted(strengths)
    assert set(strengths) == set(d.STRENGTHS[name])
    changes = [
        np.mean([np.abs(variant.image_SHWC - image).mean() for variant in found if variant.strength == strength])
        for strength in dict.fromkeys(strengths)
    ]
    assert changes[0] > 0
    assert all(later > earlier for earlier, later in itertools.pairwise(changes))


@pytest.mark.parametrize("name", NAMES)
def test_the_same_draw_for_a_patient_and_seed(image, name):
    first, again = copies(name, image), copies(name, image)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.image_SHWC, other.image_SHWC)
    if name in ("noise", "bias_field"):
        for changes in ({"patient_id": "b"}, {"seed": 1}):
            assert not np.array_equal(copies(name, image, **changes)[0].image_SHWC, first[0].image_SHWC)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_strength_zero_is_the_identity(image, dtype):
    image = image.astype(dtype)
    rng = np.random.default_rng(0)
    unchanged = [
        d.add_noise(image, d.draw_noise(rng, image.shape), 0.0 * d.spread(image)),
        d.multiply_bias_field(image, d.draw_bias_field(rng), 0.0),
        d.change_gamma(image, 2.0 ** (0.0 * d.draw_directions(rng, 3))),
        d.blur(image, 0.0),
        d.replace_channels(image, (), 1),
    ]
    for result in unchanged:
        if dtype == np.float32:
            np.testing.assert_allclose(result, image, rtol=1e-6)
        else:
            np.testing.assert_array_equal(result, image)


def test_noise_is_a_share_of_each_spread(image):
    image = image.astype(np.float32) + 1000  # far from the bounds
    image[:, :6] = image[:, 26:] = 0
    image[:, :, :6] = image[:, :, 26:] = 0
    spread_C = d.spread(image)
    head = image[:, 6:26, 6:26].reshape(-1, 3)
    np.testing.assert_allclose(spread_C, head.std(axis=0), rtol=0.06)  # both tails are clipped
    strongest = copies("noise", image)[-1]
    added = (strongest.image_SHWC - image)[:, 6:26, 6:26].reshape(-1, 3)
    np.testing.assert_allclose(added.std(axis=0), strongest.strength * spread_C, rtol=0.05)
    assert np.abs(added.mean(axis=0)).max() < 1


def test_the_spread_is_what_the_networks_are_normalised_by(image):
    from wcr_med.preprocess import PreprocessSettings, prepare

    np.testing.assert_allclose(d.spread(image), prepare(image, PreprocessSettings()).spread_C, rtol=1e-6)


def test_noise_leaves_what_has_no_contrast(image):
    image[..., 2] = 7
    assert d.spread(image)[2] == 0
    for variant in copies("noise", image):
        assert (variant.image_SHWC[..., 2] == 7).all()
    dark = np.zeros((2, 8, 8, 3), np.uint8)
    assert d.spread(dark).tolist() == [0, 0, 0]
    for name in NAMES:
        assert not any(variant.image_SHWC.any() for variant in copies(name, dark))


def test_negative_intensities_are_no_fault(image):
    image = image.astype(np.int16) - 100
    for name in ("noise", "bias_field", "intensity_shift", "blur"):
        assert min(variant.image_SHWC.min() for variant in copies(name, image)) < 0


@pytest.mark.parametrize("name", ["noise", "bias_field", "intensity_shift", "blur"])
def test_a_sequence_that_is_a_copy_stays_one(image, name):
    image[..., 2] = image[..., 1]
    for variant in copies(name, image):
        np.testing.assert_array_equal(variant.image_SHWC[..., 2], variant.image_SHWC[..., 1])


def test_the_field_is_smooth_bounded_and_monais():
    monai = RandBiasField(degree=d.BIAS_DEGREE, coeff_range=(-1, 1), prob=1.0, dtype=np.float64)
    monai.set_random_state(0)
    log_field = np.log(np.asarray(monai(torch.ones((1, 5, 20, 24), dtype=torch.float64))))[0]
    powers = [
        (i, j, k) for i in range(4) for j in range(4 - i) for k in range(4 - i - j)
    ]  # the order of MONAI's coefficients
    coefficients = np.zeros((4, 4, 4))
    coefficients[tuple(np.transpose(powers))] = monai._coeff
    shape_SHW = d.bias_shape((5, 20, 24), coefficients)
    assert (shape_SHW.min(), shape_SHW.max()) == pytest.approx((-1, 1))
    low, high = log_field.min(), log_field.max()
    np.testing.assert_allclose(shape_SHW, (2 * log_field - low - high) / (high - low), atol=1e-5)


def test_the_field_runs_from_one_less_to_one_more():
    flat = np.full((5, 20, 24, 2), 100.0)
    coefficients = d.draw_bias_field(np.random.default_rng(3))
    assert coefficients[0, 0, 0] == 0
    assert np.count_nonzero(coefficients) == 19
    changed = d.multiply_bias_field(flat, coefficients, 0.4)
    assert (changed.min(), changed.max()) == pytest.approx((60, 140))
    np.testing.assert_array_equal(changed[..., 0], changed[..., 1])
    np.testing.assert_array_equal(d.bias_shape((1, 1, 1), coefficients), np.zeros((1, 1, 1)))


def test_gamma_agrees_with_monai(image):
    image = image.astype(np.float32) + 3
    changed = d.change_gamma(image, np.array([2.0, 0.5, 1.0]))
    for channel, gamma in enumerate((2.0, 0.5, 1.0)):
        expected = AdjustContrast(gamma)(torch.from_numpy(image[..., channel]))
        np.testing.assert_allclose(changed[..., channel], np.asarray(expected), rtol=1e-4)


def test_gamma_goes_up_or_down_by_chance():
    directions = d.draw_directions(np.random.default_rng(0), 200)
    assert set(directions) == {-1.0, 1.0}
    assert 60 < (directions > 0).sum() < 140


def test_blur_agrees_with_monai_within_slices(image):
    image = image.astype(np.float32)
    blurred = d.blur(image, 1.5)
    stack = torch.from_numpy(np.moveaxis(image, -1, 1).reshape(-1, 32, 32))
    expected = np.asarray(GaussianSmooth(1.5, approx="sampled")(stack)).reshape(6, 3, 32, 32)
    inner = (slice(None), slice(6, -6), slice(6, -6))  # MONAI takes zeros beyond the border
    np.testing.assert_allclose(blurred[inner], np.moveaxis(expected, 1, -1)[inner], atol=0.1)
    alone = d.blur(image[2:3], 1.5)
    np.testing.assert_allclose(alone[0], blurred[2], rtol=1e-6)  # neighbouring slices do not mix


def test_missing_channels_are_copies_of_flair(image):
    found = copies("missing_channel", image)
    assert [variant.strength for variant in found] == [1, 1, 2]
    missing = [
        tuple(channel for channel in range(3) if np.array_equal(variant.image_SHWC[..., channel], image[..., 1]))
        for variant in found
    ]
    assert missing == [(0, 1), (1, 2), (0, 1, 2)]
    np.testing.assert_array_equal(found[0].image_SHWC[..., 2], image[..., 2])


@pytest.mark.parametrize(("channels", "flair"), [(1, 0), (3, None), (3, 3)])
def test_a_missing_channel_needs_flair_and_another(image, channels, flair):
    with pytest.raises(UserError, match="missing_channel needs FLAIR"):
        copies("missing_channel", image[..., :channels], flair_channel=flair)
