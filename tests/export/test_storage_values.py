import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.export.kernels import FORMS, VALUES, Kernel, bit_kernels, laplace
from wcr_med.errors import UserError
from wcr_med.export.storage import OPERATOR_FORMS, Form, Values, decode_kernel, encode_kernel
from wcr_med.export.storage.values import restored_values, stored_values

ARRAYS = {
    "dense": ["values"],
    "gap8": ["gaps", "values"],
    "sparse_value": ["positions", "values"],
    "rice": ["low", "high", "n_low_bits", "values"],
}


@pytest.mark.parametrize("form", FORMS)
@given(kernel=bit_kernels())
@settings(max_examples=40, deadline=None)
def test_fp32_keeps_every_bit(form: Form, kernel: Kernel) -> None:
    encoded = encode_kernel(kernel, storage=form)
    assert decode_kernel(encoded).tobytes() == kernel.tobytes()
    assert list(encoded.arrays) == ARRAYS[form]
    assert encoded.size_bytes == sum(array.nbytes for array in encoded.arrays.values())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("shape", [(1,), (7, 5), (8, 4, 3, 3)])
@pytest.mark.parametrize("share", [0.0, 0.003, 0.1, 1.0])
def test_every_form_decodes_to_the_rounded_kernel(
    form: Form, values: Values, shape: tuple[int, ...], share: float
) -> None:
    kernel = laplace(shape, share)
    stored, scale = stored_values(kernel, values, scale_axis=len(shape) - 1)
    encoded = encode_kernel(kernel, storage=form, values=values, scale_axis=len(shape) - 1)
    expected = restored_values(stored, scale, scale_axis=len(shape) - 1)
    assert decode_kernel(encoded, scale_axis=len(shape) - 1).tobytes() == expected.tobytes()
    assert encoded.arrays["values"].dtype == {"fp32": np.float32, "fp16": np.float16, "int8": np.int8}[values]
    assert ("scale" in encoded.arrays) == (values == "int8")
    assert list(encoded.arrays)[-1] == ("scale" if values == "int8" else "values")
    assert not expected[kernel == 0].any()


@given(axis=st.integers(0, 1), seed=st.integers(0, 100), size=st.sampled_from([1e-30, 1e-3, 1.0, 1e30]))
@settings(max_examples=40, deadline=None)
def test_int8_errs_by_half_a_step_of_its_channel(axis: int, seed: int, size: float) -> None:
    kernel = laplace((6, 5, 3, 3), 0.3, seed) * np.float32(size)
    kernel[1, :] = 0
    codes, scale = stored_values(kernel, "int8", scale_axis=axis)
    assert scale is not None
    assert scale.shape == (kernel.shape[axis],)
    channels = np.moveaxis(kernel, axis, 0).reshape(kernel.shape[axis], -1)
    largest = np.abs(channels).max(axis=1)
    np.testing.assert_allclose(scale[largest > 0], largest[largest > 0] / 127, rtol=1e-6)
    assert (scale[largest == 0] == 1).all()
    error = np.abs(restored_values(codes, scale, scale_axis=axis) - kernel)
    bound = np.abs(scale).reshape([-1 if index == axis else 1 for index in range(4)])
    assert (error <= bound * 0.5001).all()
    assert np.abs(codes).max() == 127


def test_int8_of_denormal_weights_is_finite() -> None:
    codes, scale = stored_values(np.array([[1e-45, -1e-42]], np.float32), "int8", scale_axis=0)
    assert scale is not None
    assert np.isfinite(scale).all()
    assert (scale > 0).all()
    assert codes.dtype == np.int8


def test_fp16_drops_what_it_cannot_tell_from_zero() -> None:
    codes, scale = stored_values(np.array([1e-9, -1e-9, -0.0, 6e-8, 1.0], np.float32), "fp16", scale_axis=0)
    assert scale is None
    assert np.signbit(codes).tolist() == [False] * 5
    assert (codes != 0).tolist() == [False, False, False, True, True]


@pytest.mark.parametrize(("bad", "values", "message"), [(np.nan, "fp16", "not finite"), (np.inf, "int8", "not finite"),
                                                        (70000.0, "fp16", "7e\\+04, more than float16")])  # fmt: skip
def test_values_that_cannot_be_stored_are_refused_by_name(bad: float, values: Values, message: str) -> None:
    kernel = np.ones((2, 2), np.float32)
    kernel[1, 0] = bad
    with pytest.raises(UserError, match=f"^network.head.weight holds .*{message}.*--values fp32"):
        encode_kernel(kernel, values=values, name="network.head.weight")


def test_auto_takes_the_smallest_of_the_forms_it_may_choose_from() -> None:
    for share in (0.0, 0.01, 0.2, 0.6, 1.0):
        kernel = laplace((32, 16, 3, 3), share)
        for values in VALUES:
            every = {form: encode_kernel(kernel, storage=form, values=values).size_bytes for form in OPERATOR_FORMS}
            chosen = encode_kernel(kernel, values=values)
            assert chosen.size_bytes == min(every.values()) == every[chosen.form]
    assert encode_kernel(laplace((32, 16, 3, 3), 1.0)).form == "dense"
    assert encode_kernel(laplace((32, 16, 3, 3), 0.05)).form == "rice"
    assert encode_kernel(laplace((32, 16, 3, 3), 0.05), among=("dense", "gap8")).form == "gap8"


def test_position_bytes_leave_out_values_and_scales() -> None:
    kernel = laplace((32, 16, 3, 3), 0.05)
    encoded = encode_kernel(kernel, storage="rice", values="int8")
    assert encoded.position_bytes == encoded.size_bytes - np.count_nonzero(encoded.arrays["values"]) - 4 * 32
    assert encode_kernel(kernel, storage="dense").position_bytes == 0


@pytest.mark.parametrize("bad", [np.zeros((2, 2)), np.zeros((0, 2), np.float32), np.zeros((), np.float32)])
def test_kernels_are_float32_and_not_empty(bad: Kernel) -> None:
    with pytest.raises(ValueError, match="non-empty float32"):
        encode_kernel(bad)
