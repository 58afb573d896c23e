"""What kernels need of LLVM beyond Numba, and the same in Python for where nothing is compiled."""

from __future__ import annotations

import ctypes
import functools
import struct
from collections.abc import Callable
from typing import Any, cast

import numba
import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import get_cython_function_address, intrinsic
from numba.np import arrayobj
from numpy.typing import NDArray

JIT_DISABLED = bool(numba.config.DISABLE_JIT)


@intrinsic
def _fma(typing_context, a, b, c):  # type: ignore[no-untyped-def]
    if not (isinstance(a, types.Float) and a == b == c):
        return None

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.fma(*args)

    return a(a, a, a), codegen


@intrinsic
def _float_to_bits(typing_context, x):  # type: ignore[no-untyped-def]
    integer = {types.float64: types.int64, types.float32: types.int32}.get(x)
    if integer is None:
        return None

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.bitcast(args[0], ir.IntType(signature.return_type.bitwidth))

    return integer(x), codegen


@intrinsic
def _bits_to_float(typing_context, n):  # type: ignore[no-untyped-def]
    real = {types.int64: types.float64, types.int32: types.float32}.get(n)
    if real is None:
        return None

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.bitcast(args[0], context.get_value_type(signature.return_type))

    return real(n), codegen


@intrinsic(prefer_literal=True)
def _stack_array(typing_context, count, like):  # type: ignore[no-untyped-def]
    if not (isinstance(count, types.IntegerLiteral) and isinstance(like, types.Float | types.Integer)):
        return None
    array = types.Array(types.unliteral(like), 1, "C")
    size = count.literal_value

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        made = arrayobj.make_array(array)(context, builder)
        item = context.get_value_type(array.dtype)
        width = context.get_constant(types.intp, context.get_abi_sizeof(item))
        arrayobj.populate_array(
            made,
            data=cgutils.alloca_once(builder, item, size=size),
            shape=[context.get_constant(types.intp, size)],
            strides=[width],
            itemsize=width,
            meminfo=None,
        )
        return made._getvalue()

    return array(count, like), codegen


@intrinsic
def _address_of(typing_context, array):  # type: ignore[no-untyped-def]
    if not isinstance(array, types.Array):
        return None

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        made = arrayobj.make_array(signature.args[0])(context, builder, args[0])
        return builder.ptrtoint(made.data, context.get_value_type(types.intp))

    return types.intp(array), codegen


@intrinsic
def _call_address(typing_context, address, pointers):  # type: ignore[no-untyped-def]
    if not (isinstance(address, types.Integer) and isinstance(pointers, types.UniTuple)):
        return None

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        untyped = ir.IntType(8).as_pointer()
        function = ir.FunctionType(ir.VoidType(), [untyped] * signature.args[1].count).as_pointer()
        given = [builder.inttoptr(p, untyped) for p in cgutils.unpack_tuple(builder, args[1])]
        builder.call(builder.inttoptr(args[0], function), given)
        return context.get_dummy_value()

    return types.void(address, pointers), codegen


@intrinsic
def _segment(typing_context, x, start, size):  # type: ignore[no-untyped-def]
    if not (isinstance(x, types.Array) and x.ndim == 1 and x.layout == "C"):
        return None

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        whole = arrayobj.make_array(x)(context, builder, args[0])
        return _array_view(context, builder, x, whole.data, args[1], args[2])

    return types.Array(x.dtype, 1, "C")(x, types.intp, types.intp), codegen


@intrinsic
def _array_at(typing_context, pointer, size, like):  # type: ignore[no-untyped-def]
    array = types.Array(types.unliteral(like), 1, "C")

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return _array_view(context, builder, array, args[0], context.get_constant(types.intp, 0), args[1])

    return array(pointer, size, like), codegen


@intrinsic
def _numbers_at(typing_context, address, first, size, like):  # type: ignore[no-untyped-def]
    if not (isinstance(address, types.Integer) and isinstance(like, types.Array)):
        return None
    array = types.Array(like.dtype, 1, "C")

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        pointer = builder.inttoptr(args[0], ir.IntType(8).as_pointer())
        return _array_view(context, builder, array, pointer, args[1], args[2])

    return array(types.intp, types.intp, types.intp, like), codegen


@intrinsic
def _tuple_at(typing_context, cls, pointer, layout, like):  # type: ignore[no-untyped-def]
    array = types.Array(types.unliteral(like), 1, "C")
    made = types.NamedUniTuple(array, len(cls.instance_class._fields), cls.instance_class)

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        number = ir.IntType(64)
        ends, start = builder.bitcast(args[2], number.as_pointer()), number(0)
        views = []
        for i in range(made.count):
            end = builder.load(builder.gep(ends, [number(1 + i)]))
            views.append(_array_view(context, builder, array, args[1], start, builder.sub(end, start)))
            start = end
        return context.make_tuple(builder, made, views)

    return made(cls, pointer, layout, like), codegen


def compiled_multiply(address: Callable[[str], int]) -> Any:
    """The compiled `blas.multiply`; `address` knows where BLAS has ``"dgemm"`` and ``"sgemm"``.

    They are given to LLVM by name, so that what calls them can be kept on disk: addresses are others in each process.
    """
    for letter in "ds":
        binding.add_symbol(f"tapcore_{letter}gemm", address(f"{letter}gemm"))

    @intrinsic
    def multiply(typing_context, x, W, rows, transposed, out):  # type: ignore[no-untyped-def]
        # Not compared as they are: some may be read-only, as a machine's weights.
        if {(z.dtype, z.ndim, z.layout) for z in (x, W, out) if isinstance(z, types.Array)} != {(x.dtype, 1, "C")}:
            return None
        letter = {types.float64: "d", types.float32: "s"}[x.dtype]

        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            a, w, to = (arrayobj.make_array(signature.args[i])(context, builder, args[i]) for i in (0, 1, 4))
            number, byte = ir.IntType(32), ir.IntType(8)

            def kept(value: Any) -> Any:
                return builder.bitcast(cgutils.alloca_once_value(builder, value), byte.as_pointer())

            def real(value: float) -> Any:
                return kept(ir.Constant(context.get_value_type(x.dtype), value))

            inner, outer = (builder.sdiv(builder.extract_value(z.shape, 0), args[2]) for z in (a, to))
            # To BLAS, which counts columns first, these are out^T = W^T x^T or W x^T.
            m, n, k = (kept(builder.trunc(size, number)) for size in (outer, args[2], inner))
            plain, turned = (ir.Constant(byte, ord(c)) for c in "NT")
            # No leading dimension may be 0.
            one = ir.Constant(outer.type, 1)
            inner, outer = (builder.select(builder.icmp_signed(">", size, one), size, one) for size in (inner, outer))
            width = kept(builder.trunc(builder.select(args[3], inner, outer), number))
            pointers = [builder.bitcast(z.data, byte.as_pointer()) for z in (w, a, to)]
            kind = ir.FunctionType(ir.VoidType(), [byte.as_pointer()] * 13)
            gemm = cgutils.get_or_insert_function(builder.module, kind, f"tapcore_{letter}gemm")
            builder.call(
                gemm,
                [
                    kept(builder.select(args[3], turned, plain)), kept(plain), m, n, k, real(1.0), pointers[0], width,
                    pointers[1], kept(builder.trunc(inner, number)), real(0.0), pointers[2],
                    kept(builder.trunc(outer, number)),
                ],
            )  # fmt: skip
            return context.get_dummy_value()

        return types.void(x, W, types.intp, types.boolean, out), codegen

    return multiply


def _array_view(context: Any, builder: Any, array: Any, pointer: Any, first: Any, size: Any) -> Any:
    """Array of `size` numbers, the first one being number `first` from a pointer on."""
    item = context.get_value_type(array.dtype)
    width = context.get_constant(types.intp, context.get_abi_sizeof(item))
    start = builder.gep(builder.bitcast(pointer, item.as_pointer()), [first])
    view = arrayobj.make_array(array)(context, builder)
    arrayobj.populate_array(view, data=start, shape=[size], strides=[width], itemsize=width, meminfo=None)
    return view._getvalue()


@intrinsic
def _call_block(typing_context, address, b, job):  # type: ignore[no-untyped-def]
    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        pointer, number = ir.IntType(8).as_pointer(), ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), [number, pointer]).as_pointer()
        at = args[2] if isinstance(args[2].type, ir.PointerType) else builder.inttoptr(args[2], pointer)
        builder.call(builder.inttoptr(args[0], kind), [args[1], at])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, job), codegen


@intrinsic
def _take(typing_context, counter):  # type: ignore[no-untyped-def]
    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        at = arrayobj.make_array(counter)(context, builder, args[0]).data
        return builder.atomic_rmw("add", at, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(counter), codegen


def _python_segment(x: Any, start: int, size: int) -> Any:
    return x[start : start + size]


def _python_call_block(kernel: Any, b: int, job: Any) -> None:
    kernel(b, job)


# A call, in a kernel, of another block kernel by its address (where nothing is compiled: of the kernel itself).
call_block: Callable[[Any, int, Any], None] = _python_call_block if JIT_DISABLED else _call_block


def _python_take(counter: Any) -> int:
    counter[0] += 1
    return int(counter[0]) - 1


# The number in an array of one int64, which is one more for whoever asks next, in whatever thread.
take: Callable[[Any], int] = _python_take if JIT_DISABLED else _take


def _python_numbers_at(address: int, first: int, size: int, like: Any) -> Any:
    width = like.itemsize
    memory: Any = (ctypes.c_char * int(size * width)).from_address(int(address + first * width))
    return np.frombuffer(memory, like.dtype)


def _python_address_of(array: Any) -> int:
    return int(array.ctypes.data)


def _python_call_address(address: int, pointers: tuple[int, ...]) -> None:
    prototype = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(pointers))
    prototype(address)(*pointers)


def cython_address(module: str, name: str) -> int:
    """Address of a C function that a Cython module exports, for `call_address`."""
    return int(get_cython_function_address(module, name))


def _python_fma(a: Any, b: Any, c: Any) -> Any:
    if isinstance(a, np.float32):
        return np.float32(_c_fma("fmaf", ctypes.c_float)(a, b, c))
    return np.float64(_c_fma("fma", ctypes.c_double)(a, b, c))


@functools.cache
def _c_fma(name: str, number: Any) -> Callable[..., float]:
    """C's own, which comes with the interpreter: Python has one from 3.13 on."""
    function = getattr(ctypes.CDLL(None), name)
    function.argtypes, function.restype = (number,) * 3, number
    return cast(Callable[..., float], function)


def _python_float_to_bits(x: Any) -> Any:
    if isinstance(x, np.float32):
        return x.view(np.int32)
    return np.int64(struct.unpack("<q", struct.pack("<d", x))[0])


def _python_bits_to_float(n: Any) -> Any:
    return n.view(np.float32) if isinstance(n, np.int32) else np.int64(n).view(np.float64)


def _python_stack_array(count: int, like: Any) -> Any:
    return np.empty(count, like.dtype)


# `count` uninitialised numbers of the type of `like`, gone when the kernel that asks for them returns; `count` is a
# constant. Kernels must not allocate in loops that run in parallel, and LLVM knows that nothing else points here.
stack_array: Callable[[int, Any], Any] = _python_stack_array if JIT_DISABLED else _stack_array

# a b + c with one rounding; the bits of a float as an integer of its width, and back.
fma: Callable[[Any, Any, Any], Any] = _python_fma if JIT_DISABLED else _fma
float_to_bits: Callable[[Any], Any] = _python_float_to_bits if JIT_DISABLED else _float_to_bits
bits_to_float: Callable[[Any], Any] = _python_bits_to_float if JIT_DISABLED else _bits_to_float

# `size` numbers of a contiguous array from `start` on, without bounds checks or references counted.
segment: Callable[[Any, int, int], NDArray[Any]] = _python_segment if JIT_DISABLED else _segment

# Where an array's numbers are; and a call of the C function at an address, with pointers to its arguments and without a
# result. Unlike Numba's own function pointers these leave a kernel free to be cached: addresses come at run time.
address_of: Callable[[Any], int] = _python_address_of if JIT_DISABLED else _address_of
call_address: Callable[[int, tuple[int, ...]], None] = _python_call_address if JIT_DISABLED else _call_address

# `size` numbers of the type of those in the array `like`, from number `first` on of those at an address.
numbers_at: Callable[[int, int, int, Any], NDArray[Any]] = _python_numbers_at if JIT_DISABLED else _numbers_at

# Inside a `c_function`: an array of `size` numbers of the type of `like` at a pointer; and, as the NamedTuple `cls`,
# one such array a field, one after another in memory, which end where a layout says, after its first number.
array_at: Callable[[Any, Any, Any], Any] = _array_at
tuple_at: Callable[[Any, Any, Any, Any], Any] = _tuple_at
