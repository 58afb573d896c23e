"""Data files that are damaged or hold no data."""

from __future__ import annotations

import gzip
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_cases import (
    IMAGES,
    flipped,
    idx_bytes,
    npz,
    refusal,
    saved,
    written,
)
from numpy.typing import NDArray

from tapcore.storage import datasets


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"\0\0", b"\0\0\x08", b"a line of text\n", b"\x89PNG\r\n\x1a\n", b"\x93NUM"]
)
def test_unknown_formats(tmp_path: Path, data: bytes) -> None:
    message = refusal(written(tmp_path, data))
    assert "unknown format" in message
    assert ".npz file" in message


def test_gz_of_another_format(tmp_path: Path) -> None:
    assert "unknown format" in refusal(written(tmp_path, gzip.compress(b"a line of text\n")))


@pytest.mark.parametrize("compress", [np.savez, np.savez_compressed])
def test_every_truncation_of_numpy_files_is_refused(tmp_path: Path, compress: Any) -> None:
    compress(tmp_path / "data.npz", X=IMAGES)
    for whole in (saved(tmp_path, IMAGES), tmp_path / "data.npz"):
        data = whole.read_bytes()
        for length in range(len(data)):
            refusal(written(tmp_path, data[:length]))


def test_npy_too_long_for_its_header_is_refused(tmp_path: Path) -> None:
    data = saved(tmp_path, IMAGES).read_bytes()
    message = refusal(written(tmp_path, data + b"\0"))
    assert f"too long: its header calls for {len(data)} bytes, it has {len(data) + 1}" in message


@pytest.mark.filterwarnings("ignore")  # NumPy and zipfile may warn of what they then refuse
@pytest.mark.parametrize("kind", ["npy", "npz", "compressed"])
def test_damaged_numpy_files_raise_nothing_but_value_error(tmp_path: Path, kind: str) -> None:
    if kind == "npy":
        data = saved(tmp_path, IMAGES).read_bytes()
    else:
        (np.savez if kind == "npz" else np.savez_compressed)(tmp_path / "data.npz", X=IMAGES)
        data = (tmp_path / "data.npz").read_bytes()
    refused = 0
    for position, byte in enumerate(data):
        for wrong in {byte ^ 1 << bit for bit in range(8)} | set({12, 14}):
            path = written(tmp_path, data[:position] + bytes([wrong]) + data[position + 1 :])
            try:
                X = datasets.load(path)
            except ValueError:
                refusal(path)
                refused += 1
            else:  # bytes that say nothing, or that an .npy file has no way of checking
                assert kind == "npy" or np.array_equal(X, IMAGES.reshape(4, 6))
    assert refused > len(data)


def test_damaged_array_of_an_npz_is_not_passed_over(tmp_path: Path) -> None:
    path = npz(tmp_path, X=np.zeros((100, 100)), train=IMAGES)
    data = path.read_bytes()
    refusal(written(tmp_path, flipped(data, data.index(b"descr"))))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        datasets.load(tmp_path / "missing.npy")


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.array([[None, 1]]), "objects|Object"),
        (np.zeros((2, 2), dtype=complex), "real numbers, got dtype complex128"),
        (np.array([["a", "b"]]), "real numbers, got dtype <U1"),
        (np.zeros((2, 2), dtype="M8[s]"), "real numbers, got dtype datetime64"),
        (np.zeros((2, 2), dtype=[("x", "f8")]), "real numbers, got dtype"),
        (np.zeros(3), r"two or more axes.*got shape \(3,\)"),
        (np.float64(3), r"two or more axes.*got shape \(\)"),
        (np.zeros((0, 4)), r"at least one row and one column, got shape \(0, 4\)"),
        (np.zeros((4, 0)), r"at least one row and one column, got shape \(4, 0\)"),
        (np.zeros((4, 2, 0)), r"at least one row and one column, got shape \(4, 2, 0\)"),
    ],
)
@pytest.mark.parametrize("archived", [False, True], ids=["npy", "npz"])
def test_unsuitable_arrays(tmp_path: Path, array: NDArray[Any], reason: str, archived: bool) -> None:
    path = npz(tmp_path, X=array) if archived else saved(tmp_path, array)
    assert re.search(reason, refusal(path))


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("shape", [(), (5,), (0, 4), (4, 0), (4, 2, 0)])
def test_unsuitable_idx_shapes(tmp_path: Path, shape: tuple[int, ...], compressed: bool) -> None:
    data = idx_bytes(np.zeros(shape))
    message = refusal(written(tmp_path, gzip.compress(data) if compressed else data))
    assert f"got shape {shape}" in message


@pytest.mark.parametrize("names", [["train-images-idx3-ubyte"], ["t10k-images-idx3-ubyte.gz", "notes.txt"]])
@pytest.mark.parametrize("key", [None, 0])
def test_a_zip_of_other_files_is_to_be_unpacked(tmp_path: Path, names: list[str], key: int | None) -> None:
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, idx_bytes(IMAGES))
    with pytest.raises(
        ValueError, match=r"data\.zip: .* in it is no NumPy array: unpack the archive, and load"
    ) as caught:
        datasets.load(path, key=None if key is None else names[key])
    assert names[0] in str(caught.value)


def test_another_file_beside_arrays_is_no_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", X=IMAGES)
    with zipfile.ZipFile(tmp_path / "data.npz", "a") as archive:
        archive.writestr("notes.txt", "digits")
    assert datasets.load(tmp_path / "data.npz").shape == (4, 6)
    with pytest.raises(ValueError, match=r"'notes\.txt' in it is no NumPy array"):
        datasets.load(tmp_path / "data.npz", key="notes.txt")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (np.zeros((3, 3)), "source must be a path or 'digits' or 'mnist5k', got ndarray; arrays need no loading"),
        ([[0, 1]], "source must be a path or 'digits' or 'mnist5k', got list; arrays need no loading"),
        (3, "source must be a path or 'digits' or 'mnist5k', got int"),
        (None, "source must be a path or 'digits' or 'mnist5k', got NoneType"),
        (b"data.npy", "source must be a path or 'digits' or 'mnist5k', got bytes"),
    ],
)
def test_sources_that_are_no_paths(source: Any, reason: str) -> None:
    for load in (datasets.load, datasets.load_with_shape):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - compared as a whole
            load(source)
        assert str(caught.value) == reason


def test_keys_that_are_no_names(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^key must be the name of an array, got 3$"):
        datasets.load(npz(tmp_path, X=IMAGES), key=3)  # type: ignore[arg-type]
