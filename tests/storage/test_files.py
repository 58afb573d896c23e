"""Checkpoint files: what goes in comes out, and a damaged byte is noticed."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from tapcore.storage import format as file_format
from tapcore.storage.format import CheckpointError

HEADER = {"name": "a", "sizes": [3, 4], "state": {"n": 2**70, "x": 0.1}}
TENSORS = {"A": np.arange(3.0), "B": np.array([[True, False]])}

NUMBERS = st.integers() | st.integers(2**64, 2**200) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
DTYPES = st.sampled_from(["float64", "float32", "int64", "uint8", "bool"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "machine.tap"


def exactly(value: Any) -> Any:
    """`value` in a form that tells 1, 1.0 and True apart, and -0.0 from 0.0."""
    if isinstance(value, dict):
        return {key: exactly(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [exactly(inner) for inner in value]
    return (type(value), value.hex() if isinstance(value, float) else value)


def assert_same_bits(found: NDArray[Any], expected: NDArray[Any]) -> None:
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert found.tobytes() == expected.tobytes()


def sealed(text: bytes, body: bytes = b"") -> bytes:
    """A file with this JSON after its digest and this body, whose digest is right."""
    text = b'{"__metadata__":{"sha256":"' + b"0" * 64 + b'"' + text
    data = bytearray(struct.pack("<Q", len(text)) + text + body)
    data[file_format._DIGEST] = file_format._digest(data)
    return bytes(data)


def refusal(path: Path, data: bytes) -> str:
    """The message without the path, which it must have."""
    path.write_bytes(data)
    with pytest.raises(CheckpointError) as caught:
        file_format.read(path)
    assert str(path) in str(caught.value)
    return str(caught.value).replace(str(path), "")


# Round trips


@given(st.dictionaries(st.text(), VALUES, max_size=4))
@example({"nested": {"list": [[], [{}], {"deep": [None, True, 1, 1.0]}]}})
@example({"big": [2**64 + 1, -(2**127), 2**1000 + 1]})
@example({"floats": [0.1, -0.0, 5e-324, 1.7976931348623157e308, 1 / 3, 1e16, 123456789.123456789]})
def test_header_comes_back_exactly(tmp_path_factory: pytest.TempPathFactory, header: dict[str, Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "header.tap"
    file_format.write(path, header, {})
    assert exactly(file_format.read(path)[0]) == exactly(header)


def test_tuples_come_back_as_lists(path: Path) -> None:
    file_format.write(path, {"shape": (3, (4,))}, {})
    assert file_format.read(path)[0] == {"shape": [3, [4]]}


@given(DTYPES.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0, max_side=4))))
def test_tensor_comes_back_with_every_bit(tmp_path_factory: pytest.TempPathFactory, tensor: NDArray[Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "tensor.tap"
    file_format.write(path, {}, {"A": tensor})
    assert_same_bits(file_format.read(path)[1]["A"], np.asarray(tensor))


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "uint8", "bool"])
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (5,), (2, 3, 4)])
def test_every_dtype_and_shape(path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    tensor = np.array(np.arange(np.prod(shape, dtype=int)).reshape(shape) % 3, dtype=dtype)
    file_format.write(path, {}, {"A": tensor})
    assert_same_bits(file_format.read(path)[1]["A"], tensor)


def test_many_tensors_of_mixed_dtypes(path: Path) -> None:
    tensors = {f"{dtype}.{n}": np.arange(n).astype(dtype) for dtype in ("uint8", "float64", "bool") for n in (1, 3, 8)}
    file_format.write(path, {}, tensors)
    found = file_format.read(path)[1]
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert_same_bits(found[name], tensor)


def test_nan_payloads_and_signed_zeros_are_kept(path: Path) -> None:
    # Quiet and signalling NaNs with a payload, a negative NaN, -0.0, the smallest number.
    doubles = np.array([0x7FF8DEAD0000BEEF, 0x7FF0000000000001, 0xFFF8000000000000, 1 << 63, 1], dtype=np.uint64)
    singles = np.array([0x7FC0BEEF, 0x7F800001, 0xFFC00000, 1 << 31, 1], dtype=np.uint32)
    file_format.write(path, {}, {"double": doubles.view(np.float64), "single": singles.view(np.float32)})
    found = file_format.read(path)[1]
    np.testing.assert_array_equal(found["double"].view(np.uint64), doubles)
    np.testing.assert_array_equal(found["single"].view(np.uint32), singles)


@pytest.mark.parametrize(
    "tensor",
    [
        np.arange(12.0).reshape(3, 4).T,
        np.arange(12.0)[::-2],
        np.arange(24).reshape(4, 6)[1::2, ::-1],
        np.broadcast_to(np.float64(3), (2, 3)),
        np.asfortranarray(np.arange(24, dtype=np.uint8).reshape(2, 3, 4)),
    ],
    ids=["transposed", "reversed", "sliced", "broadcast", "fortran"],
)
def test_tensors_that_are_not_contiguous(path: Path, tensor: NDArray[Any]) -> None:
    file_format.write(path, {}, {"A": tensor})
    assert_same_bits(file_format.read(path)[1]["A"], tensor)


def test_big_endian_tensors_keep_their_values(path: Path) -> None:
    file_format.write(path, {}, {"A": np.array([1.5, -2.0], dtype=">f8")})
    assert_same_bits(file_format.read(path)[1]["A"], np.array([1.5, -2.0]))


def test_tensors_read_are_the_callers_own(path: Path) -> None:
    file_format.write(path, HEADER, TENSORS)
    before = path.read_bytes()
    tensor = file_format.read(path)[1]["A"]
    assert tensor.flags.owndata
    tensor += 1  # writeable
    assert path.read_bytes() == before
    np.testing.assert_array_equal(file_format.read(path)[1]["A"], TENSORS["A"])


def test_equal_contents_give_equal_bytes() -> None:
    expected = file_format.pack(HEADER, TENSORS)
    for _ in range(20):  # safetensors alone orders metadata at random
        assert file_format.pack(HEADER, TENSORS) == expected
    other_order = file_format.pack(dict(reversed(HEADER.items())), dict(reversed(TENSORS.items())))
    assert other_order == expected
    column = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    assert file_format.pack({}, {"A": column}) == file_format.pack({}, {"A": column.copy(order="C")})
    assert file_format.pack(HEADER, {**TENSORS, "A": -TENSORS["A"]}) != expected


def test_plain_safetensors_reads_the_file(path: Path) -> None:
    file_format.write(path, HEADER, TENSORS)
    plain = safetensors.numpy.load_file(path)
    assert plain.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert_same_bits(plain[name], tensor)
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    assert metadata["format"] == "tapcore"
    assert json.loads(metadata["header"]) == HEADER


# Refusals of contents


@pytest.mark.parametrize("dtype", ["float16", "int32", "uint64", "complex128", "U3", "O"])
def test_other_dtypes_are_refused(dtype: str) -> None:
    with pytest.raises(ValueError, match=r"tensor 'A' must be one of bool, float32, float64, int64, uint8"):
        file_format.pack({}, {"A": np.zeros(2).astype(dtype)})


def test_reserved_tensor_name_is_refused() -> None:
    with pytest.raises(ValueError, match="__metadata__"):
        file_format.pack({}, {"__metadata__": np.zeros(2)})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_floats_that_are_not_finite_are_refused_in_a_header(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        file_format.pack({"deep": [{"x": value}]}, {})


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", np.int64(1), np.zeros(2), 1j])
def test_what_json_cannot_hold_is_refused_in_a_header(value: object) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        file_format.pack({"x": value}, {})


def test_refused_contents_leave_the_old_file(path: Path) -> None:
    file_format.write(path, HEADER, TENSORS)
    with pytest.raises(ValueError, match="must be one of"):
        file_format.write(path, HEADER, {"A": np.zeros(2, dtype=np.int16)})
    assert file_format.read(path)[0] == HEADER


# Damage


def test_every_wrong_byte_is_refused(path: Path) -> None:
    data = file_format.pack({"a": [1, 0.5]}, {"A": np.arange(3, dtype=np.uint8)})
    for position, byte in enumerate(data):
        for wrong in ({byte ^ 1 << bit for bit in range(8)} | {0, 0x20, 0x30, 0xFF}) - {byte}:
            refusal(path, data[:position] + bytes([wrong]) + data[position + 1 :])


def test_every_truncation_is_refused(path: Path) -> None:
    data = file_format.pack({"a": [1, 0.5]}, {"A": np.arange(3, dtype=np.uint8)})
    for length in range(len(data)):
        refusal(path, data[:length])


def test_added_and_swapped_bytes_are_refused(path: Path) -> None:
    data = file_format.pack({"a": [1, 0.5]}, {"A": np.arange(3, dtype=np.uint8)})
    for wrong in (data + b"\0", data + b" ", data + data, b"\0" + data, data[:-2] + data[:-3:-1]):
        refusal(path, wrong)


def test_damage_is_told_from_another_format(path: Path) -> None:
    data = file_format.pack(HEADER, TENSORS)
    assert "damaged checkpoint" in refusal(path, data[:-1] + b"\7")
    assert "not a tapcore checkpoint" in refusal(path, b"\7" + data)
    assert "the file is empty" in refusal(path, b"")
    assert "not a tapcore checkpoint" in refusal(path, b"just a line of text\n" * 20)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_safetensors_files_of_others_are_refused(path: Path, metadata: dict[str, str] | None) -> None:
    plain = safetensors.numpy.save(TENSORS, metadata)
    assert "not a tapcore checkpoint" in refusal(path, plain)


def test_newer_version_is_refused_as_such(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    newer = file_format.VERSION + 1
    with monkeypatch.context() as patch:
        patch.setattr(file_format, "VERSION", newer)
        data = file_format.pack(HEADER, TENSORS)
    message = refusal(path, data)
    assert f"written by a newer tapcore (checkpoint version {newer}, this one reads up to {newer - 1})" in message


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "not a tapcore checkpoint"),  # no JSON
        (b"}}", "not a tapcore checkpoint: KeyError"),
        (b',"format":"tapcore"}}', "KeyError('version')"),
        (b',"format":"tapcore","version":"one"}}', "not a tapcore checkpoint: ValueError"),
        (b',"format":"other","version":"1"}}', "its format is 'other'"),
        (b',"format":"tapcore","version":"1"}}', "cannot be read: KeyError('header')"),
        (b',"format":"tapcore","version":"1","header":"{"}}', "cannot be read: JSONDecodeError"),
        (b',"format":"tapcore","version":"1","header":"{}"},"A":{}}', "cannot be read: SafetensorError"),
    ],
)
def test_wrong_contents_with_a_right_digest_are_refused(path: Path, text: bytes, reason: str) -> None:
    assert reason in refusal(path, sealed(text))


def test_sealed_makes_readable_files(path: Path) -> None:
    path.write_bytes(sealed(b',"format":"tapcore","version":"1","header":"{}"}}'))
    assert file_format.read(path) == ({}, {})


def test_missing_file(path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"machine\.tap"):
        file_format.read(path)


# Files that another program has saved again


def reordered(data: bytes, change: Any = None, order: Any = reversed) -> bytes:
    """The same file with its metadata in another order, as others write it; `change` may alter them and the tensors."""
    (length,) = struct.unpack_from("<Q", data)
    described, body = json.loads(data[8 : 8 + length]), bytearray(data[8 + length :])
    metadata = described.pop("__metadata__")
    if change is not None:
        change(metadata, body)
    text = json.dumps({"__metadata__": {name: metadata[name] for name in order(metadata)}, **described}).encode()
    return struct.pack("<Q", len(text)) + text + bytes(body)


@pytest.mark.parametrize("order", [reversed, sorted, lambda names: ["sha256", "version", "header", "format"]])
def test_a_file_saved_again_is_taken(path: Path, order: Any) -> None:
    data = reordered(file_format.pack(HEADER, TENSORS), order=order)
    assert data != file_format.pack(HEADER, TENSORS)
    path.write_bytes(data)
    header, tensors = file_format.read(path)
    assert exactly(header) == exactly(HEADER)
    for name, tensor in TENSORS.items():
        assert_same_bits(tensors[name], tensor)


def test_a_file_saved_by_safetensors_is_taken(path: Path) -> None:
    file_format.write(path, HEADER, TENSORS)
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    tensors = safetensors.numpy.load_file(path)
    for _ in range(20):  # in an order of its own each time
        safetensors.numpy.save_file(tensors, path, metadata)
        assert exactly(file_format.read(path)[0]) == exactly(HEADER)


def test_a_file_saved_again_with_other_contents_is_refused(path: Path) -> None:
    def other_header(metadata: dict[str, str], _: bytearray) -> None:
        metadata["header"] = metadata["header"].replace("3", "5")

    def other_text(metadata: dict[str, str], _: bytearray) -> None:
        metadata["header"] = metadata["header"].replace(" ", "")

    def other_tensor(_: dict[str, str], body: bytearray) -> None:
        body[-1] ^= 1

    def other_digest(metadata: dict[str, str], _: bytearray) -> None:
        metadata["sha256"] = "é"

    def no_header(metadata: dict[str, str], _: bytearray) -> None:
        metadata["header"] = "{"

    for change in (other_header, other_tensor, other_digest, no_header):
        data = reordered(file_format.pack(HEADER, TENSORS), change)
        assert "another program saved this checkpoint, and its contents no longer match" in refusal(path, data)
    path.write_bytes(reordered(file_format.pack(HEADER, TENSORS), other_text))
    assert exactly(file_format.read(path)[0]) == exactly(HEADER)


def test_every_wrong_byte_of_a_file_saved_again_is_refused_or_makes_no_difference(path: Path) -> None:
    data = reordered(file_format.pack({"a": [1, 0.5]}, {"A": np.arange(3, dtype=np.uint8)}))
    for position, byte in enumerate(data):
        for wrong in {byte ^ 1 << bit for bit in range(8)} - {byte}:
            path.write_bytes(data[:position] + bytes([wrong]) + data[position + 1 :])
            try:
                header, tensors = file_format.read(path)
            except CheckpointError:
                continue
            assert header == {"a": [1, 0.5]}
            np.testing.assert_array_equal(tensors["A"], np.arange(3, dtype=np.uint8))


def test_a_newer_file_saved_again_is_refused_as_newer(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(file_format, "VERSION", file_format.VERSION + 1)
        data = reordered(file_format.pack(HEADER, TENSORS))
    assert "written by a newer tapcore" in refusal(path, data)
