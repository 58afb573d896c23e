"""Compiled functions that stand apart: compiled once, and called, not contained, by whatever compiled code needs them.

Code that is large, and called for many numbers at a time, would else be optimised anew in every kernel that calls it.
Kernels kept on disk know it by the name of a cell, which holds the function's address in this process.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np import arrayobj
from numpy.typing import NDArray

from tapcore._base.intrinsics import JIT_DISABLED, array_at
from tapcore._base.jit import c_function, helper

_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Apart:
    """A function of one array of integers, among which are the addresses of what it reads and writes.

    Before a kernel that calls it runs, `ready` has it compiled or loaded. A kernel that runs all the same makes up for
    that, at its first call.
    """

    def __init__(self, function: Callable[[NDArray[np.int64]], None], length: int) -> None:
        self.__doc__, self.__name__ = function.__doc__, function.__name__
        self.symbol = f"{function.__module__}.{function.__qualname__}"
        self._body, self._lock = _body(function, length), threading.Lock()
        self._made: Any = None
        if not JIT_DISABLED:
            self._first = _FUNCTION(self._bound_late)
            self._cell = ctypes.c_void_p(ctypes.cast(self._first, ctypes.c_void_p).value)
            binding.add_symbol(self.symbol, ctypes.addressof(self._cell))
        self.call: Callable[[NDArray[np.int64]], None] = function if JIT_DISABLED else _call(self.symbol)

    def ready(self) -> None:
        """Compile the function, or load it, unless that is done."""
        if self._made is None and not JIT_DISABLED:
            with self._lock:
                if self._made is None:
                    made = c_function(self._body, 1)
                    self._cell.value, self._made = made.address, made

    def _bound_late(self, words: int) -> None:
        try:
            self.ready()
        finally:  # an interruption by the user must not leave results out
            self.ready()
            _FUNCTION(self._made.address)(words)


def apart(length: int) -> Callable[[Callable[[NDArray[np.int64]], None]], Apart]:
    """Have a function of an array of so many integers stand apart."""
    return lambda function: Apart(function, length)


def _body(function: Callable[[NDArray[np.int64]], None], length: int) -> Callable[[Any], None]:
    compiled = helper(inline=False)(function)

    def body(words: Any) -> None:
        compiled(array_at(words, length, np.int64(0)))

    return body


def _call(symbol: str) -> Any:
    @intrinsic
    def call(typing_context, words):  # type: ignore[no-untyped-def]
        if words != types.Array(types.int64, 1, "C"):
            return None

        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            pointer = ir.IntType(8).as_pointer()
            kind = ir.FunctionType(ir.VoidType(), [pointer]).as_pointer()
            cell = builder.module.globals.get(symbol) or cgutils.add_global_variable(builder.module, kind, symbol)
            data = arrayobj.make_array(words)(context, builder, args[0]).data
            builder.call(builder.load(cell), [builder.bitcast(data, pointer)])
            return context.get_dummy_value()

        return types.void(words), codegen

    return call
