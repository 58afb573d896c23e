"""NamedTuples of arrays and numbers as compiled code sees them: a pointer to words, each field read where it is used.

Numba takes a NamedTuple apart wherever it is handed on, seven words an array, and compiles that anew in every function
on the way. Here a NamedTuple is one pointer, whatever it holds. In memory an array is the address of its first number
and its shape, a number one word, a NamedTuple inside another one the address of its words.
"""

from __future__ import annotations

import ctypes
import struct
from array import array
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.datamodel import models
from numba.core.typing.templates import AttributeTemplate, infer_getattr
from numba.extending import lower_getattr_generic, register_model
from numba.np import arrayobj
from numba.np.numpy_support import from_dtype
from numpy.typing import NDArray

WORD = 8


class Reference(types.Type):  # type: ignore[misc]
    """Numba's type of a pointer to the words of a NamedTuple."""

    def __init__(self, cls: type, fields: tuple[Any, ...]) -> None:
        self.fields = dict(zip(cls._fields, fields, strict=True))  # type: ignore[attr-defined]
        self.offsets: dict[str, int] = {}
        end = 0
        for name, field in self.fields.items():
            self.offsets[name] = end
            end += _words_of(field)
        super().__init__(f"{cls.__module__}.{cls.__qualname__}({', '.join(f.name for f in fields)})")


def _words_of(field: Any) -> int:
    return 1 + field.ndim if isinstance(field, types.Array) else 1


register_model(Reference)(models.OpaqueModel)


@infer_getattr
class _Fields(AttributeTemplate):  # type: ignore[misc]
    key = Reference

    def generic_resolve(self, reference: Reference, name: str) -> Any:
        """Type of a field."""
        return reference.fields.get(name)


@lower_getattr_generic(Reference)  # type: ignore[untyped-decorator]
def _load(context: Any, builder: Any, reference: Reference, pointer: Any, name: str) -> Any:
    """Read a field. Words do not change while compiled code runs, which lets LLVM read each of them once."""
    field = reference.fields[name]
    words = builder.bitcast(pointer, ir.IntType(64).as_pointer())
    first = reference.offsets[name]

    def word(i: int) -> Any:
        at = builder.gep(words, [ir.Constant(ir.IntType(32), first + i)], inbounds=True)
        value = builder.load(at)
        value.set_metadata("invariant.load", builder.module.add_metadata([]))
        return value

    if isinstance(field, types.Array):
        return array_value(context, builder, field, word(0), [word(1 + i) for i in range(field.ndim)])
    if isinstance(field, Reference):
        return builder.inttoptr(word(0), ir.IntType(8).as_pointer())
    if isinstance(field, types.Boolean):
        return builder.icmp_signed("!=", word(0), ir.Constant(ir.IntType(64), 0))
    if isinstance(field, types.Float):
        return builder.bitcast(word(0), ir.DoubleType())
    return word(0)


def array_value(context: Any, builder: Any, array: Any, address: Any, shape: list[Any]) -> Any:
    """A C-ordered array of that shape at an address, which nobody counts references of."""
    item = context.get_data_type(array.dtype)
    width = context.get_constant(types.intp, context.get_abi_sizeof(item))
    strides = [width]
    for n in shape[:0:-1]:
        strides.insert(0, builder.mul(strides[0], n))
    value = arrayobj.make_array(array)(context, builder)
    data = address if isinstance(address.type, ir.PointerType) else builder.inttoptr(address, item.as_pointer())
    arrayobj.populate_array(value, data=data, shape=shape, strides=strides, itemsize=width, meminfo=None)
    return value._getvalue()


class Packed(NamedTuple):
    """A NamedTuple in memory, for as long as this lives."""

    type: Reference
    words: array[int]
    alive: tuple[Any, ...]  # what the words point to

    @property
    def address(self) -> int:
        """Of its words."""
        return self.words.buffer_info()[0]


_references: dict[Any, Reference] = {}


def pack(value: Any) -> Packed:
    """A NamedTuple as compiled code takes it.

    Its fields are C-ordered arrays, integers, floats, booleans, NamedTuples, or what `pack` has returned for these.
    """
    kinds: list[Any] = []
    words: list[int] = []
    alive: list[Any] = []
    for field in value:
        if isinstance(field, np.ndarray):
            flags, shape = field.flags, field.shape
            if flags.carray:  # C-ordered, and can be written to
                words.append(address(field))  # `solve` asks for some hundred
            elif flags.c_contiguous:
                words.append(int(field.ctypes.data))
            else:
                raise ValueError(f"{type(value).__name__} must hold C-ordered arrays")
            kinds.append((field.dtype.char, len(shape)))
            words.extend(shape)
            alive.append(field)
        elif isinstance(field, _BOOLEANS):
            kinds.append("?")
            words.append(int(field))
        elif isinstance(field, _INTEGERS):
            kinds.append("q")
            words.append(int(field))
        elif isinstance(field, _FLOATS):
            kinds.append("d")
            words.append(_BITS.unpack(_DOUBLE.pack(field))[0])
        else:
            inner = field if isinstance(field, Packed) else pack(field)
            kinds.append(inner.type)
            words.append(inner.address)
            alive.append(inner)
    key = (type(value), *kinds)
    reference = _references.get(key)
    if reference is None:
        reference = _references[key] = Reference(type(value), tuple(map(_type_of, kinds)))
    return Packed(reference, array("q", words), tuple(alive))


_DOUBLE, _BITS = struct.Struct("<d"), struct.Struct("<q")
_BOOLEANS, _INTEGERS, _FLOATS = (bool, np.bool_), (int, np.integer), (float, np.floating)
_room: Any = (ctypes.c_char * 0).from_buffer  # of what an array of no numbers has room for, too


def address(x: NDArray[Any]) -> int:
    """Where a C-ordered array that can be written to begins, several times faster than NumPy tells it."""
    return ctypes.addressof(_room(x))


_NUMBERS = {"?": types.boolean, "q": types.int64, "d": types.float64}


def _type_of(kind: Any) -> Any:
    if isinstance(kind, tuple):
        char, ndim = kind
        return types.Array(from_dtype(np.dtype(char)), ndim, "C")
    return kind if isinstance(kind, Reference) else _NUMBERS[kind]
