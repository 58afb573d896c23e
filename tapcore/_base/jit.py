"""Numba's decorators, options and the two intrinsics the kernels need; nothing else calls Numba's decorators.

Everything compiles lazily and is cached on disk (`cache.py`). No ``fastmath``: it breaks NaN. Where a sum may be
reassociated so that it vectorises, the kernel says so with ``kernel(reassociate=True)``.
"""

from __future__ import annotations

import ctypes
import functools
import math
import struct
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Protocol, TypeVar, cast

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.ccallback import CFunc
from numba.extending import get_cython_function_address, intrinsic, overload
from numba.np import arrayobj

from tapcore._base.cache import KernelCache

F = TypeVar("F", bound=Callable[..., Any])

JIT_DISABLED = bool(numba.config.DISABLE_JIT)

# The Python error model checks every division, and that check alone stops vectorisation.
_SCALAR_OPTIONS = {"error_model": "numpy"}
_KERNEL_OPTIONS = {"error_model": "numpy", "nogil": True}


def kernel(*, reassociate: bool = False) -> Callable[[F], F]:
    """Compile a loop kernel: lazily, cached on disk, without the GIL."""
    fastmath = {"reassoc"} if reassociate else False

    def compile_lazily(function: F) -> F:
        return cast(F, _cached(numba.njit(fastmath=fastmath, **_KERNEL_OPTIONS)(function)))

    return compile_lazily


def _cached(dispatcher: Any) -> Any:
    if not JIT_DISABLED:
        dispatcher._cache = KernelCache(dispatcher.py_func)
    return dispatcher


def scalar(function: F) -> F:
    """Compile a helper that compiled code calls.

    It has no wrappers that unpack Python's arguments, which would be a third of the time to compile: should Python call
    it, it is compiled once more, with them.
    """
    options = {"forceinline": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True, **_KERNEL_OPTIONS}
    helper = _cached(numba.njit(**options)(function))
    if not JIT_DISABLED:
        # Otherwise Numba's dispatcher would take the wrapper, which is not there, from its table.
        whole = numba.njit(**_SCALAR_OPTIONS)(function)
        helper._insert = lambda *entry: None
        helper._compile_for_args = lambda *args, **named: whole
    return cast(F, helper)


class ByType(Protocol):
    """A function whose implementations are chosen by the type of its first argument."""

    implementations: dict[type, Callable[..., Any]]

    def __call__(self, *args: Any) -> Any:
        """Call the implementation for the type of the first argument."""

    def register(self, cls: type) -> Callable[[F], F]:
        """Take the decorated implementation for a NamedTuple class, or for ``np.float64`` or ``np.float32`` scalars."""


def by_type(stub: Callable[..., Any]) -> ByType:
    """Make `stub` a function chosen by the type of its first argument, compiled or not.

    Unlike jitted functions passed as arguments, a kernel that calls it is reused from the disk cache.
    """
    methods: dict[type, Callable[..., Any]] = {}

    @functools.wraps(stub)
    def dispatch(*args: Any) -> Any:
        # Python floats count as float64.
        found = methods.get(type(args[0])) or methods.get(np.float64)
        if found is None:
            raise TypeError(f"{stub.__name__} has no implementation for {type(args[0]).__name__}")
        return found(*args)

    def choose(*args: Any) -> Callable[..., Any] | None:
        first = args[0]
        if isinstance(first, types.BaseNamedTuple):
            return methods.get(first.instance_class)
        real = {types.float64: np.float64, types.float32: np.float32}.get(first)
        return None if real is None else methods.get(real)

    overload(dispatch, strict=False, jit_options=_SCALAR_OPTIONS)(choose)

    def register(cls: type) -> Callable[[F], F]:
        def keep(implementation: F) -> F:
            methods[cls] = implementation
            return implementation

        return keep

    dispatch.implementations = methods  # type: ignore[attr-defined]
    dispatch.register = register  # type: ignore[attr-defined]
    return cast(ByType, dispatch)


def also_compiled(face: Callable[..., Any]) -> Callable[[F], F]:
    """Give the Python function `face` the compiled scalar that runs where compiled code calls `face` on numbers."""

    def keep(implementation: F) -> F:
        compiled = implementation if hasattr(implementation, "py_func") else scalar(implementation)

        def choose(*args: Any) -> Callable[..., Any] | None:
            if not all(isinstance(x, types.Float | types.Integer | types.Boolean) for x in args):
                return None
            if len(args) > 1:  # converts by itself
                return lambda *args: compiled(*args)
            return (lambda x: compiled(x)) if isinstance(args[0], types.Float) else lambda x: compiled(np.float64(x))

        overload(face, strict=False, jit_options=_SCALAR_OPTIONS)(choose)
        return implementation

    return keep


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
def _array_at(typing_context, pointer, size, like):  # type: ignore[no-untyped-def]
    array = types.Array(types.unliteral(like), 1, "C")

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return _array_views(context, builder, array, 1, args[0], args[1])[0]

    return array(pointer, size, like), codegen


@intrinsic
def _tuple_at(typing_context, cls, pointer, size, like):  # type: ignore[no-untyped-def]
    array = types.Array(types.unliteral(like), 1, "C")
    made = types.NamedUniTuple(array, len(cls.instance_class._fields), cls.instance_class)

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        views = _array_views(context, builder, array, made.count, args[1], args[2])
        return context.make_tuple(builder, made, views)

    return made(cls, pointer, size, like), codegen


def _array_views(context: Any, builder: Any, array: Any, count: int, pointer: Any, size: Any) -> list[Any]:
    """`count` arrays of `size` numbers each that lie one after another in memory."""
    item = context.get_value_type(array.dtype)
    width = context.get_constant(types.intp, context.get_abi_sizeof(item))
    start = builder.bitcast(pointer, item.as_pointer())
    views = []
    for _ in range(count):
        view = arrayobj.make_array(array)(context, builder)
        arrayobj.populate_array(view, data=start, shape=[size], strides=[width], itemsize=width, meminfo=None)
        views.append(view._getvalue())
        start = builder.gep(start, [size])
    return views


def c_function(body: Callable[..., None], arguments: int, *chosen: Any) -> Any:
    """Compile `body`, a function of so many pointers, so that compiled code can call it by its ``.address``.

    What calls it need not be compiled anew for each such function, nor contain it. `chosen` are functions and classes
    that `body` takes from where it was made: they may lie outside of the package.
    """
    made: Any = CFunc(body, ((types.voidptr,) * arguments, types.void), locals={}, options=dict(_SCALAR_OPTIONS))
    made._cache = KernelCache(body, *chosen)
    made.compile()
    return made


def _python_address_of(array: Any) -> int:
    return int(array.ctypes.data)


def _python_call_address(address: int, pointers: tuple[int, ...]) -> None:
    prototype = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(pointers))
    prototype(address)(*pointers)


def cython_address(module: str, name: str) -> int:
    """Address of a C function that a Cython module exports, for `call_address`."""
    return int(get_cython_function_address(module, name))


def _python_fma(a: Any, b: Any, c: Any) -> Any:
    if not (math.isfinite(a) and math.isfinite(b) and math.isfinite(c)):
        return a * b + c
    exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    if exact == 0:
        return a * b + c  # the sign of zero follows the usual rules
    try:
        rounded = float(exact)
    except OverflowError:
        rounded = math.inf if exact > 0 else -math.inf
    return np.float32(rounded) if isinstance(a, np.float32) else np.float64(rounded)


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

# Where an array's numbers are; and a call of the C function at an address, with pointers to its arguments and without a
# result. Unlike Numba's own function pointers these leave a kernel free to be cached: addresses come at run time.
address_of: Callable[[Any], int] = _python_address_of if JIT_DISABLED else _address_of
call_address: Callable[[int, tuple[int, ...]], None] = _python_call_address if JIT_DISABLED else _call_address

# Inside a `c_function`: an array of `size` numbers of the type of `like` at a pointer; and, as the NamedTuple `cls`, as
# many such arrays as it has fields, one after another in memory.
array_at: Callable[[Any, Any, Any], Any] = _array_at
tuple_at: Callable[[Any, Any, Any, Any], Any] = _tuple_at
