"""Checkpoint files: written whole or not at all, and refused when a single byte of them is wrong.

A checkpoint is a safetensors file, so any safetensors reader opens its tensors. Its metadata holds a format name, a
version, a JSON header and a SHA-256 digest. The digest is of the entire file with 64 zeros in the digest's own place,
which is always the same: the file starts with the header's length and then ``{"__metadata__":{"sha256":"``, so no other
text in the file can be taken for it. Equal contents give equal bytes: a file that another program has saved again is
taken if what it holds makes the bytes of that digest.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import os
import re
import secrets
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

FORMAT = "tapcore"
VERSION = 1

# In the order in which they are written.
_METADATA = ("sha256", "format", "version", "header")
_DTYPES = frozenset({"float64", "float32", "int64", "uint8", "bool"})

_LENGTH = struct.Struct("<Q")
_OPENING = b'{"__metadata__":{"sha256":"'
_BLANK = b"0" * 64
_DIGEST = slice(_LENGTH.size + len(_OPENING), _LENGTH.size + len(_OPENING) + len(_BLANK))

# The token tells this process from an earlier one that had the same id, as happens in containers.
_TOKEN = secrets.token_hex(8)
_LEFTOVER = re.compile(r"\.tapcore-(\d{1,9})-([0-9a-f]{16})-\d+\.tmp")
_serial = itertools.count()


class CheckpointError(ValueError):
    """A file that is no checkpoint, is damaged, or of a newer tapcore; the message has its path and the reason."""


def write_whole(path: Path, data: bytes) -> None:
    """Make `path` hold `data`: after a crash at any point it holds either all of it or what it held before.

    Raises
    ------
    OSError
        When the folder is missing or the disk is full; `path` is then as it was.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "No such folder", str(path.parent))
    temporary = path.parent / f".tapcore-{os.getpid()}-{_TOKEN}-{next(_serial)}.tmp"
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            # Without this a power cut can leave the new name on an empty file.
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files that killed processes left in `folder`; those of running processes stay."""
    for path in folder.iterdir():
        found = _LEFTOVER.fullmatch(path.name)
        if found and not _is_running(int(found[1]), found[2]):
            path.unlink(missing_ok=True)


def _is_running(process: int, token: str) -> bool:
    if process == os.getpid():
        return token == _TOKEN
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it runs, as another user
        return True
    return True


def pack(header: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the bytes of a checkpoint.

    Parameters
    ----------
    header : mapping
        What JSON can hold, with strings as keys and finite floats. Integers of any size and floats come back exactly;
        tuples come back as lists.
    tensors : mapping of str to array
        Any shape; float64, float32, int64, uint8 or bool. Every bit is kept.

    Raises
    ------
    ValueError
        When a tensor has another dtype or a reserved name, or a float in `header` is not finite.
    TypeError
        When JSON cannot hold something in `header`.
    """
    metadata = {
        "sha256": _BLANK.decode(),
        "format": FORMAT,
        "version": str(VERSION),
        "header": json.dumps(header, sort_keys=True, allow_nan=False),
    }
    plain = safetensors.numpy.save({name: _plain(name, tensor) for name, tensor in tensors.items()}, metadata)
    # The safetensors package orders metadata at random. Written again in our order, the digest has a fixed place.
    (length,) = _LENGTH.unpack_from(plain)
    body = _LENGTH.size + length
    described = json.loads(plain[_LENGTH.size : body])
    del described["__metadata__"]
    text = json.dumps({"__metadata__": metadata, **described}, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)  # tensors start aligned
    data = bytearray(_LENGTH.pack(len(text)) + text)
    data += memoryview(plain)[body:]
    data[_DIGEST] = _digest(data)
    return bytes(data)


def write(path: Path, header: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write a checkpoint to `path`, whole or not at all; see `pack` and `write_whole`."""
    write_whole(path, pack(header, tensors))


def read(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the header and the tensors of the checkpoint at `path`.

    Returns
    -------
    header : dict
    tensors : dict of str to array
        Writeable arrays of their own, with the dtypes and shapes they had.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    CheckpointError
        When the file is no checkpoint, any byte of it differs from what was written, or a newer tapcore wrote it. The
        order of metadata in a file that another program saved does not count.
    """
    data = path.read_bytes()
    if not data:
        raise CheckpointError(f"{path}: the file is empty")
    ours = len(data) >= _DIGEST.stop and data[_LENGTH.size : _DIGEST.start] == _OPENING
    if not ours or data[_DIGEST] != _digest(data):
        rewritten = _rewritten(path, data)
        if rewritten is None and ours:
            raise CheckpointError(f"{path}: damaged checkpoint: its {len(data)} bytes do not match its SHA-256 digest")
        if rewritten is None:
            raise CheckpointError(f"{path}: not a tapcore checkpoint, or one whose first bytes are damaged")
        data = rewritten
    try:
        (length,) = _LENGTH.unpack_from(data)
        metadata = json.loads(data[_LENGTH.size : _LENGTH.size + length])["__metadata__"]
        name, version = metadata["format"], int(metadata["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: not a tapcore checkpoint: {error!r}") from error
    if name != FORMAT:
        raise CheckpointError(f"{path}: not a tapcore checkpoint: its format is {name!r}")
    if version > VERSION:
        raise CheckpointError(_newer(path, version))
    try:
        header = json.loads(metadata["header"])
        # Arrays from safetensors are views of memory that may be read-only.
        tensors = {name: np.array(tensor) for name, tensor in safetensors.numpy.load(data).items()}
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CheckpointError(f"{path}: the checkpoint cannot be read: {error!r}") from error
    return header, tensors


def _rewritten(path: Path, data: bytes) -> bytes | None:
    """The bytes that we wrote, of a checkpoint that another program has since saved; None if it is none such.

    A program that loads a checkpoint and saves it, as the safetensors package does, puts its metadata in another order.
    That tells such a file from a damaged one of ours, whose metadata still are in our order.

    Raises
    ------
    CheckpointError
        Another program saved it with other contents.
    """
    try:
        (length,) = _LENGTH.unpack_from(data)
        metadata = json.loads(data[_LENGTH.size : _LENGTH.size + length])["__metadata__"]
        if metadata["format"] != FORMAT or sorted(metadata) != sorted(_METADATA) or tuple(metadata) == _METADATA:
            return None
        version, stored = int(metadata["version"]), metadata["sha256"]
    except (ValueError, KeyError, TypeError, AttributeError, struct.error):
        return None
    if version > VERSION:
        raise CheckpointError(_newer(path, version))
    try:
        packed = pack(json.loads(metadata["header"]), safetensors.numpy.load(data))
    except (ValueError, KeyError, TypeError, SafetensorError):
        packed = b""
    if packed[_DIGEST] != str(stored).encode():
        raise CheckpointError(
            f"{path}: another program saved this checkpoint, and its contents no longer match its SHA-256 digest"
        )
    return packed


def _newer(path: Path, version: int) -> str:
    return f"{path}: written by a newer tapcore (checkpoint version {version}, this one reads up to {VERSION})"


def _plain(name: str, tensor: NDArray[Any]) -> NDArray[Any]:
    """`tensor` as safetensors stores it: contiguous and little endian, 0-d kept 0-d."""
    if name == "__metadata__":
        raise ValueError("a tensor cannot be named '__metadata__': safetensors reserves that name")
    if tensor.dtype.name not in _DTYPES:
        raise ValueError(f"tensor {name!r} must be one of {', '.join(sorted(_DTYPES))}, got {tensor.dtype}")
    return np.asarray(tensor, dtype=tensor.dtype.newbyteorder("<"), order="C")


def _digest(data: bytes | bytearray) -> bytes:
    """SHA-256 in hexadecimal of `data` with zeros in place of its digest."""
    view = memoryview(data)
    digest = hashlib.sha256(view[: _DIGEST.start])
    digest.update(_BLANK)
    digest.update(view[_DIGEST.stop :])
    return digest.hexdigest().encode("ascii")
