"""NIfTI: every orientation there and back exactly, the header's geometry to the bit, and every bad file refused."""

import contextlib
import gzip
import itertools
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wcr_med.errors import UserError
from wcr_med.volumes import FileError, Volume
from wcr_med.volumes.images import read_images
from wcr_med.volumes.labels import LabelValues
from wcr_med.volumes.nifti import NiftiResult, diagonal_geometry, read_nifti, write_nifti

SHAPE = (3, 4, 5)
SIDES = (1.5, 2.0, 3.0)
ORIENTATIONS = [
    (order, signs) for order in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)
]
GEOMETRY = (
    "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z",
    "srow_x", "srow_y", "srow_z", "xyzt_units",
)  # fmt: skip


def affine_of(
    order: tuple[int, ...], signs: tuple[int, ...], offset: tuple[float, ...] = (-90.5, 12.25, 7.0)
) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis in range(3):
        affine[order[axis], axis] = signs[axis] * SIDES[axis]
    affine[:3, 3] = offset
    return affine


def oblique(degrees: float) -> np.ndarray:
    angle = np.deg2rad(degrees)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    tilt = np.eye(4)
    tilt[1:3, 1:3] = [[np.cos(angle / 2), -np.sin(angle / 2)], [np.sin(angle / 2), np.cos(angle / 2)]]
    return turn @ tilt @ np.diag([*SIDES, 1.0]) + np.array([[0, 0, 0, 3.0]] * 3 + [[0, 0, 0, 0]])


def numbered(shape: tuple[int, ...] = SHAPE, dtype: type = np.int16) -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def save(path: Path, values: np.ndarray, affine: np.ndarray, **header: object) -> Path:
    image = nib.Nifti1Image(values, affine)
    for field, value in header.items():
        image.header[field] = value
    nib.save(image, path)
    return path


def refuse(call: Callable[[], object], path: Path, code: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(FileError) as caught:
            call()
    message = str(caught.value)
    assert caught.value.code == code, message
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert ";" in message, "no remedy"
    return message


def refuse_channel(path: Path, code: str) -> str:
    return refuse(lambda: read_nifti([path], None, patient_id="p"), path, code)


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_every_orientation_is_shown_alike_and_written_back_exactly(
    tmp_path: Path, order: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    affine = affine_of(order, signs)
    values = numbered()
    path = save(tmp_path / "a_t1.nii", values, affine)
    volume = read_nifti([path], None, patient_id="p")

    # Where each voxel of the volume lies: slices go up, rows go back, columns go from the patient's right to left.
    place_SHW3 = np.empty((*volume.image_SHWC.shape[:3], 3))
    for index in np.ndindex(*SHAPE):
        found = np.argwhere(volume.image_SHWC[..., 0] == values[index])
        assert len(found) == 1
        place_SHW3[tuple(found[0])] = (affine @ [*index, 1])[:3]
    assert (np.diff(place_SHW3[..., 2], axis=0) > 0).all()
    assert (np.diff(place_SHW3[..., 1], axis=1) < 0).all()
    assert (np.diff(place_SHW3[..., 0], axis=2) < 0).all()
    steps = (place_SHW3[1, 0, 0, 2] - place_SHW3[0, 0, 0, 2], place_SHW3[0, 0, 0, 1] - place_SHW3[0, 1, 0, 1])
    assert volume.spacing_mm == (*steps, place_SHW3[0, 0, 0, 0] - place_SHW3[0, 0, 1, 0])

    lesion = values % 7 == 0
    write_nifti(volume, (volume.image_SHWC[..., 0] % 7 == 0), tmp_path / "out.nii.gz")
    written = nib.load(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(written.dataobj), lesion)
    np.testing.assert_array_equal(written.affine, nib.load(path).affine)
    assert written.get_data_dtype() == np.uint8
    assert nib.aff2axcodes(written.affine) == nib.aff2axcodes(affine)


@pytest.mark.parametrize("degrees", [5.0, 30.0, 80.0, 170.0])
def test_an_oblique_scan_keeps_its_grid(tmp_path: Path, degrees: float) -> None:
    path = save(tmp_path / "a.nii.gz", numbered(), oblique(degrees))
    volume = read_nifti([path], None, patient_id="p")
    canonical = nib.as_closest_canonical(nib.load(path))  # right, front, up
    expected_SHW = np.asanyarray(canonical.dataobj)[::-1, ::-1].transpose(2, 1, 0)
    np.testing.assert_array_equal(volume.image_SHWC[..., 0], expected_SHW)
    np.testing.assert_allclose(volume.spacing_mm, canonical.header.get_zooms()[::-1], rtol=1e-6)
    write_nifti(volume, volume.image_SHWC[..., 0] > 9, tmp_path / "out.nii")
    written = nib.load(tmp_path / "out.nii")
    np.testing.assert_array_equal(np.asanyarray(written.dataobj), numbered() > 9)
    np.testing.assert_array_equal(written.affine, nib.load(path).affine)


@pytest.mark.parametrize("codes", [(1, 0), (0, 2), (1, 2), (4, 4)], ids=["qform", "sform", "both", "mni"])
@pytest.mark.parametrize("image_class", [nib.Nifti1Image, nib.Nifti2Image])
def test_the_geometry_of_the_header_is_kept_to_the_bit(
    tmp_path: Path, codes: tuple[int, int], image_class: type
) -> None:
    image = image_class(numbered(), None)
    image.set_qform(oblique(20), code=codes[0])
    image.set_sform(affine_of((1, 0, 2), (1, -1, 1)), code=codes[1])
    image.header["quatern_b"] *= 1.0001  # not what nibabel would compute anew from an affine
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, tmp_path / "a.nii.gz")
    source = nib.load(tmp_path / "a.nii.gz")
    volume = read_nifti([tmp_path / "a.nii.gz"], None, patient_id="p")
    write_nifti(volume, np.zeros(volume.image_SHWC.shape[:3], dtype=bool), tmp_path / "out.nii.gz")
    written = nib.load(tmp_path / "out.nii.gz")
    assert type(written) is image_class
    for field in GEOMETRY[:-1]:
        np.testing.assert_array_equal(written.header[field], source.header[field], err_msg=field)
    np.testing.assert_array_equal(written.header["pixdim"][:4], source.header["pixdim"][:4])
    assert written.header.get_xyzt_units() == ("mm", "unknown")
    assert written.shape == SHAPE


def test_probabilities_are_written_as_float32(tmp_path: Path) -> None:
    volume = read_nifti([save(tmp_path / "a.nii", numbered(), affine_of((2, 0, 1), (1, -1, 1)))], None, patient_id="p")
    probability_SHW = (volume.image_SHWC[..., 0] / 100).astype(np.float64)
    write_nifti(volume, probability_SHW, tmp_path / "out.nii.gz")
    written = nib.load(tmp_path / "out.nii.gz")
    assert written.get_data_dtype() == np.float32
    np.testing.assert_array_equal(np.asanyarray(written.dataobj), (numbered() / 100).astype(np.float32))


def test_nothing_that_could_name_a_patient_is_copied(tmp_path: Path) -> None:
    image = nib.Nifti1Image(numbered(), affine_of((0, 1, 2), (1, 1, 1)))
    for field in ("descrip", "db_name", "aux_file", "intent_name"):
        image.header[field] = b"DOE^JANE"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"DOE^JANE"))
    nib.save(image, tmp_path / "a.nii")
    assert b"DOE^JANE" in (tmp_path / "a.nii").read_bytes()
    volume = read_nifti([tmp_path / "a.nii"], None, patient_id="p")
    write_nifti(volume, np.zeros(volume.image_SHWC.shape[:3], dtype=np.uint8), tmp_path / "out.nii")
    assert b"DOE" not in (tmp_path / "out.nii").read_bytes()


def test_channels_and_label(tmp_path: Path) -> None:
    affine = affine_of((0, 2, 1), (-1, 1, 1))
    first = save(tmp_path / "t1.nii.gz", numbered(), affine)
    second = save(tmp_path / "flair.nii.gz", numbered(dtype=np.uint8) + np.uint8(100), affine)
    label = save(tmp_path / "seg.nii.gz", (numbered() % 5).astype(np.uint8), affine)
    volume = read_nifti([first, second], label, patient_id="p", labels=LabelValues(lesion=(1, 2, 3, 4)))
    assert volume.patient_id == "p"
    assert volume.image_SHWC.dtype == np.int16
    np.testing.assert_array_equal(volume.image_SHWC[..., 1], volume.image_SHWC[..., 0] + 100)
    assert volume.mask_SHW is not None
    np.testing.assert_array_equal(volume.mask_SHW, volume.image_SHWC[..., 0] % 5 > 0)
    assert volume.names == tuple(map(str, range(volume.image_SHWC.shape[0])))


def test_a_4d_file_holds_channels_last(tmp_path: Path) -> None:
    affine = affine_of((2, 1, 0), (1, -1, -1))
    joint = save(tmp_path / "joint.nii.gz", np.stack([numbered(), numbered() + 1], axis=-1), affine)
    alone = [save(tmp_path / f"{k}.nii.gz", numbered() + k, affine) for k in (0, 1)]
    together, apart = (read_nifti(paths, None, patient_id="p") for paths in ([joint], alone))
    np.testing.assert_array_equal(together.image_SHWC, apart.image_SHWC)
    write_nifti(together, together.image_SHWC[..., 0] > 3, tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(nib.load(tmp_path / "out.nii.gz").dataobj), numbered() > 3)
    refuse(lambda: read_nifti([joint, alone[0]], None, patient_id="p"), joint, "wrong-shape")
    refuse(lambda: read_nifti([alone[0]], joint, patient_id="p"), joint, "wrong-shape")


def test_trailing_axes_of_one_voxel_do_not_matter(tmp_path: Path) -> None:
    affine = affine_of((0, 1, 2), (1, 1, 1))
    path = save(tmp_path / "a.nii", numbered()[..., None, None], affine)
    label = save(tmp_path / "l.nii", (numbered() % 2)[..., None], affine)
    assert read_nifti([path, path], label, patient_id="p").image_SHWC.shape == (5, 4, 3, 2)


def test_scaled_and_big_endian_voxels(tmp_path: Path) -> None:
    affine = affine_of((0, 1, 2), (1, 1, 1))
    scaled = save(tmp_path / "scaled.nii.gz", numbered(), affine)
    raw = bytearray(gzip.decompress(scaled.read_bytes()))
    raw[112:120] = np.array([0.5, -3.0], dtype="<f4").tobytes()  # scl_slope, scl_inter
    scaled.write_bytes(gzip.compress(bytes(raw)))
    volume = read_nifti([scaled], None, patient_id="p")
    assert volume.image_SHWC.dtype == np.float32
    np.testing.assert_array_equal(volume.image_SHWC[..., 0].min(), -3.0)
    np.testing.assert_array_equal(volume.image_SHWC[..., 0].max(), 59 * 0.5 - 3)

    real = save(tmp_path / "real.nii", numbered(dtype=np.float32), affine)
    raw = bytearray(real.read_bytes())
    raw[112:120] = np.array([2.0, 1.0], dtype="<f4").tobytes()
    real.write_bytes(raw)
    np.testing.assert_array_equal(read_nifti([real], None, patient_id="p").image_SHWC.max(), 59 * 2 + 1)

    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    nib.save(nib.Nifti1Image(numbered().astype(">i2"), affine, header), tmp_path / "big.nii")
    big = read_nifti([tmp_path / "big.nii"], None, patient_id="p")
    assert (tmp_path / "big.nii").read_bytes()[:4] == (348).to_bytes(4, "big")
    assert big.image_SHWC.dtype == np.dtype(np.int16)
    assert big.image_SHWC.dtype.isnative
    assert sorted(big.image_SHWC.ravel()) == list(range(60))
    write_nifti(big, big.image_SHWC[..., 0] > 9, tmp_path / "out.nii")
    np.testing.assert_array_equal(np.asanyarray(nib.load(tmp_path / "out.nii").dataobj), numbered() > 9)


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1.0), ("micron", 1e-3), ("meter", 1e3), ("unknown", 1.0)])
def test_spacing_is_in_millimetres(tmp_path: Path, unit: str, factor: float) -> None:
    image = nib.Nifti1Image(numbered(), affine_of((0, 1, 2), (1, 1, 1)))
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "a.nii")
    spacing_mm = read_nifti([tmp_path / "a.nii"], None, patient_id="p").spacing_mm
    np.testing.assert_allclose(spacing_mm, np.array(SIDES[::-1]) * factor)


def test_a_quaternion_with_qfac_zero(tmp_path: Path) -> None:
    image = nib.Nifti1Image(numbered(), None)
    image.set_qform(np.diag([*SIDES, 1.0]), code=1)
    image.set_sform(None, code=0)
    nib.save(image, tmp_path / "a.nii")
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[76:80] = bytes(4)  # pixdim[0]
    (tmp_path / "a.nii").write_bytes(raw)
    assert read_nifti([tmp_path / "a.nii"], None, patient_id="p").spacing_mm == SIDES[::-1]


def test_a_quaternion_that_is_no_rotation(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", numbered(), np.eye(4))
    raw = bytearray(path.read_bytes())
    raw[252:256] = b"\1\0\0\0"  # qform_code 1, sform_code 0
    raw[256:260] = np.float32(2).tobytes()  # quatern_b
    path.write_bytes(raw)
    refuse_channel(path, "bad-geometry")


def test_an_unknown_unit(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", numbered(), np.eye(4))
    raw = bytearray(path.read_bytes())
    raw[123] = 5  # xyzt_units
    path.write_bytes(raw)
    refuse_channel(path, "bad-geometry")


def test_a_coordinate_system_that_does_not_exist(tmp_path: Path) -> None:
    refuse_channel(save(tmp_path / "a.nii", numbered(), np.eye(4), qform_code=9), "bad-geometry")


def test_voxels_that_start_within_the_header(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", numbered(), np.eye(4))
    raw = bytearray(path.read_bytes())
    raw[108:112] = np.float32(128).tobytes()  # vox_offset
    path.write_bytes(raw)
    refuse_channel(path, "unreadable")


def test_no_affine(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    nib.save(nib.Nifti1Image(numbered(), None), path)
    assert "sform_code" in refuse_channel(path, "no-affine")


@pytest.mark.parametrize("side", [0.0, -1.0, float("nan")])
def test_voxels_without_size(tmp_path: Path, side: float) -> None:
    path = save(tmp_path / "a.nii", numbered(), affine_of((0, 1, 2), (1, 1, 1)))
    raw = bytearray(path.read_bytes())
    raw[84:88] = np.float32(side).tobytes()  # pixdim[2]
    path.write_bytes(raw)
    assert "pixdim" in refuse_channel(path, "bad-geometry")


@pytest.mark.parametrize("row", [(0, 0, 0), (2.0, 0, 0), (np.nan, 1, 1)], ids=["zero", "parallel", "nan"])
def test_a_singular_affine(tmp_path: Path, row: tuple[float, ...]) -> None:
    path = save(tmp_path / "a.nii", numbered(), np.diag([1.0, 1, 1, 1]))
    raw = bytearray(path.read_bytes())
    raw[296:308] = np.array(row, dtype="<f4").tobytes()  # srow_y: the second coordinate
    path.write_bytes(raw)
    refuse_channel(path, "bad-geometry")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_voxels_that_are_not_finite(tmp_path: Path, value: float, dtype: type) -> None:
    values = numbered(dtype=dtype)
    values[1, 2, 3] = value
    refuse_channel(save(tmp_path / "a.nii.gz", values, np.eye(4)), "not-finite")


def test_voxels_beyond_single_precision(tmp_path: Path) -> None:
    values = numbered(dtype=np.float64)
    values[0, 0, 0] = 1e300
    refuse_channel(save(tmp_path / "a.nii.gz", values, np.eye(4)), "not-finite")


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5, 2, 2)])
def test_other_dimensions(tmp_path: Path, shape: tuple[int, ...]) -> None:
    refuse_channel(save(tmp_path / "a.nii", numbered(shape), np.eye(4)), "wrong-shape")


def test_complex_and_colour_voxels(tmp_path: Path) -> None:
    refuse_channel(save(tmp_path / "a.nii", numbered(dtype=np.complex64), np.eye(4)), "wrong-type")
    colour = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    refuse_channel(save(tmp_path / "b.nii", colour, np.eye(4)), "wrong-type")


def test_a_header_that_claims_a_huge_volume(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", numbered(), np.eye(4))
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[42:48] = np.array([32767] * 3, dtype="<i2").tobytes()
    path.write_bytes(gzip.compress(bytes(raw)))
    refuse_channel(path, "too-large")


def test_grids_that_differ(tmp_path: Path) -> None:
    affine = affine_of((0, 1, 2), (1, 1, 1))
    first = save(tmp_path / "a.nii", numbered(), affine)
    smaller = save(tmp_path / "b.nii", numbered()[:, :, 1:], affine)
    moved = save(tmp_path / "c.nii", numbered(), affine_of((0, 1, 2), (1, 1, 1), (-90.0, 12.25, 7.0)))
    mirrored = save(tmp_path / "d.nii", numbered(), affine_of((0, 1, 2), (-1, 1, 1)))
    for other, code in ((smaller, "wrong-shape"), (moved, "bad-geometry"), (mirrored, "bad-geometry")):
        assert "a.nii" in refuse(lambda o=other: read_nifti([first, o], None, patient_id="p"), other, code)
        assert "a.nii" in refuse(lambda o=other: read_nifti([first], o, patient_id="p"), other, code)
    rounded = save(tmp_path / "e.nii", numbered(), affine + 1e-5)
    assert read_nifti([first, rounded], None, patient_id="p").image_SHWC.shape[-1] == 2


def test_a_label_with_fractions(tmp_path: Path) -> None:
    image = save(tmp_path / "a.nii", numbered(), np.eye(4))
    whole = save(tmp_path / "l.nii", (numbered() % 3).astype(np.float32), np.eye(4))
    assert read_nifti([image], whole, patient_id="p", labels=LabelValues(lesion=(1, 2))).mask_SHW is not None
    fractions = save(tmp_path / "f.nii", (numbered() / 60).astype(np.float32), np.eye(4))
    refuse(lambda: read_nifti([image], fractions, patient_id="p"), fractions, "mask-values")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_truncated_at_any_length(tmp_path: Path, name: str) -> None:
    path = save(tmp_path / name, np.random.default_rng(0).integers(0, 99, (9, 9, 9)).astype(np.int16), np.eye(4))
    whole = path.read_bytes()
    for length in [0, 3, 40, 200, *range(348, len(whole), 211), len(whole) - 1]:
        path.write_bytes(whole[:length])
        refuse_channel(path, "unreadable")


def test_a_wrong_checksum(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", numbered(), np.eye(4))
    damaged = bytearray(path.read_bytes())
    damaged[-6] ^= 1  # within the checksum at the end
    path.write_bytes(damaged)
    refuse_channel(path, "unreadable")


def test_bytes_after_the_voxels_do_not_matter(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", numbered(), np.eye(4))
    path.write_bytes(path.read_bytes() + b"more")
    assert sorted(read_nifti([path], None, patient_id="p").image_SHWC.ravel()) == list(range(60))


def test_files_that_are_no_nifti(tmp_path: Path) -> None:
    refuse_channel(tmp_path / "absent.nii.gz", "missing-file")
    (tmp_path / "folder.nii").mkdir()
    refuse_channel(tmp_path / "folder.nii", "unreadable")
    (tmp_path / "text.nii").write_text("no image" * 100, encoding="utf-8")
    refuse_channel(tmp_path / "text.nii", "unreadable")
    (tmp_path / "plain.nii.gz").write_bytes(save(tmp_path / "a.nii", numbered(), np.eye(4)).read_bytes())
    refuse_channel(tmp_path / "plain.nii.gz", "unreadable")
    refuse_channel(tmp_path / "a.tif", "wrong-type")
    nib.save(nib.Nifti1Pair(numbered(), np.eye(4)), tmp_path / "pair.img")
    (tmp_path / "pair.hdr").rename(tmp_path / "pair.nii")
    refuse_channel(tmp_path / "pair.nii", "unreadable")


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_bytes_are_read_or_refused_never_more(tmp_path: Path, data: st.DataObject) -> None:
    path = save(tmp_path / "a.nii", numbered(), affine_of((1, 0, 2), (1, 1, -1)))
    damaged = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        damaged[252:256] = b"\1\0\0\0"  # qform_code 1, sform_code 0
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, 351))] = data.draw(st.integers(0, 255))
    path.write_bytes(damaged)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with contextlib.suppress(FileError):
            volume = read_nifti([path], None, patient_id="p")
            write_nifti(volume, volume.image_SHWC[..., 0] > 0, tmp_path / "out.nii")
            np.testing.assert_array_equal(nib.load(tmp_path / "out.nii").shape, nib.load(path).shape[:3])


def test_results_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    volume = read_nifti([save(tmp_path / "a.nii", numbered(), np.eye(4))], None, patient_id="p")
    mask_SHW = np.zeros(volume.image_SHWC.shape[:3], dtype=np.uint8)
    out = tmp_path / "out"
    refuse(lambda: write_nifti(volume, mask_SHW, out / "a.tif"), out / "a.tif", "wrong-type")
    with pytest.raises(ValueError, match="shape"):
        write_nifti(volume, mask_SHW[1:], out / "a.nii")
    assert not out.exists()
    out.write_bytes(b"")
    with pytest.raises(UserError, match="a file stands"):
        write_nifti(volume, mask_SHW, out / "a.nii")


def test_a_tiff_volume_has_no_place_in_space(tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(np.zeros((4, 4, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    volume: Volume = read_images([tmp_path / "a.png"])
    with pytest.raises(ValueError, match="not read from NIfTI"):
        write_nifti(volume, np.zeros((1, 4, 4), dtype=np.uint8), tmp_path / "out.nii")
    with pytest.raises(ValueError, match="at least one"):
        read_nifti([], None, patient_id="p")


@pytest.mark.parametrize("numbers", [(1.0, np.nan), (1.0, np.inf)], ids=["nan", "inf"])
def test_an_intercept_that_is_no_number(tmp_path: Path, numbers: tuple[float, float]) -> None:
    path = save(tmp_path / "a.nii", numbered(), np.eye(4))
    raw = bytearray(path.read_bytes())
    raw[112:120] = np.array(numbers, dtype="<f4").tobytes()  # scl_slope, scl_inter
    path.write_bytes(raw)
    refuse_channel(path, "unreadable")


def claiming(path: Path, shape: tuple[int, int, int], size: int) -> Path:
    """A compressed file whose header claims a shape, with `size` zeros behind it."""
    raw = bytearray(gzip.decompress(save(path, numbered(), np.eye(4)).read_bytes())[:352])
    raw[42:48] = np.array(shape, dtype="<i2").tobytes()
    path.write_bytes(gzip.compress(bytes(raw) + bytes(size)))
    return path


def test_a_small_file_that_claims_much_is_refused_before_room_is_made(tmp_path: Path) -> None:
    path = claiming(tmp_path / "a.nii.gz", (512, 512, 900), 0)
    tracemalloc.start()
    message = refuse_channel(path, "unreadable")
    assert tracemalloc.get_traced_memory()[1] < 2**23
    tracemalloc.stop()
    assert "claims 471859552 bytes" in message


def test_voxels_far_behind_the_header(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", numbered(), np.eye(4))
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[108:112] = np.float32(2**30).tobytes()  # vox_offset
    path.write_bytes(gzip.compress(bytes(raw)))
    refuse_channel(path, "too-large")


def test_a_file_that_unpacks_to_much_takes_disk_and_not_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wcr_med.volumes.scratch.IN_MEMORY_BYTES", 2**20)
    path = claiming(tmp_path / "a.nii.gz", (256, 256, 400), 256 * 256 * 400 * 2)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    tracemalloc.start()
    volume = read_nifti([path], None, patient_id="p", scratch=scratch)
    assert volume.image_SHWC.shape == (400, 256, 256, 1)
    result = NiftiResult(volume.nifti, np.uint8, scratch=scratch)
    result.values_SHW[7] = 1
    result.save(tmp_path / "out.nii.gz")
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()
    assert list(scratch.iterdir()) == []  # the file has no name
    assert np.asanyarray(nib.load(tmp_path / "out.nii.gz").dataobj).sum() == 256 * 256


@pytest.mark.parametrize("spacing_mm", [(4.0, 0.5, 0.75), None])
def test_slices_without_a_place_are_shown_as_they_look(
    tmp_path: Path, spacing_mm: tuple[float, float, float] | None
) -> None:
    values_SHW = numbered((2, 3, 4), np.uint8)
    result = NiftiResult(diagonal_geometry((2, 3, 4), spacing_mm), np.uint8)
    result.values_SHW[...] = values_SHW
    result.save(tmp_path / "a.nii.gz")
    back = read_nifti([tmp_path / "a.nii.gz"], None, patient_id="p")
    np.testing.assert_array_equal(back.image_SHWC[..., 0], values_SHW)
    assert back.spacing_mm == (spacing_mm or (1.0, 1.0, 1.0))
    unit = nib.load(tmp_path / "a.nii.gz").header.get_xyzt_units()[0]
    assert unit == ("mm" if spacing_mm else "unknown")
