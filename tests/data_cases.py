"""Files for tests of data: written by hand, damaged on purpose."""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tapcore.storage import datasets

IMAGES = np.arange(24, dtype=np.uint8).reshape(4, 2, 3) * 10
IDX_CODES = {0x08: "u1", 0x09: "i1", 0x0B: "i2", 0x0C: "i4", 0x0D: "f4", 0x0E: "f8"}

ROOT = Path(__file__).resolve().parents[1]
REAL_DATA = Path(os.environ.get("TAPCORE_DATA", ROOT.parent / "shared" / "data"))


def idx_bytes(array: NDArray[Any], code: int = 0x08) -> bytes:
    """`array` in IDX format, as its specification says: big endian throughout."""
    header = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(">" + IDX_CODES[code]).tobytes()


def saved(folder: Path, array: Any, name: str = "data.npy") -> Path:
    np.save(folder / name, array, allow_pickle=True)
    return folder / name


def written(folder: Path, data: bytes, name: str = "data.bin") -> Path:
    (folder / name).write_bytes(data)
    return folder / name


def npz(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "data.npz", **arrays)
    return folder / "data.npz"


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :]


def assert_equal(found: NDArray[Any], expected: NDArray[Any]) -> None:
    assert found.dtype == expected.dtype
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, expected)


def assert_mapped(array: NDArray[Any]) -> None:
    """`array` is a read-only view of a file, none of it copied to memory."""
    assert isinstance(array, np.memmap)
    assert not array.flags.owndata
    assert not array.flags.writeable
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    assert type(base).__name__ == "mmap"


def refusal(path: Path, **options: Any) -> str:
    """The message of the ValueError, without the path, which it must have."""
    with pytest.raises(ValueError, match=re.escape(str(path))) as caught:
        datasets.load(path, **options)
    return str(caught.value).replace(str(path), "")
