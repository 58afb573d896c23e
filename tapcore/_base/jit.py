"""Numba's decorators and options; nothing else calls Numba's decorators.

Everything compiles lazily and is cached on disk (`cache.py`). No ``fastmath``: it breaks NaN. Where a sum may be
reassociated so that it vectorises, the kernel says so with ``kernel(reassociate=True)``.
"""

from __future__ import annotations

import dis
import functools
import inspect
import re
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, cast

import numba
import numpy as np
from numba import types
from numba.core.ccallback import CFunc
from numba.core.errors import NumbaError
from numba.extending import overload

from tapcore._base.cache import KernelCache
from tapcore._base.compiling import compiling
from tapcore._base.inline import HelperCompiler
from tapcore._base.intrinsics import JIT_DISABLED

F = TypeVar("F", bound=Callable[..., Any])

# The Python error model checks every division, and that check alone stops vectorisation.
_SCALAR_OPTIONS = {"error_model": "numpy"}
_KERNEL_OPTIONS = {"error_model": "numpy", "nogil": True}
_HELPER_OPTIONS: dict[str, Any] = {
    "pipeline_class": HelperCompiler, "no_cpython_wrapper": True, "no_cfunc_wrapper": True, **_KERNEL_OPTIONS,
}  # fmt: skip


def kernel(*, reassociate: bool = False) -> Callable[[F], F]:
    """Compile a loop kernel: lazily, cached on disk, without the GIL."""
    fastmath = {"reassoc"} if reassociate else False

    def compile_lazily(function: F) -> F:
        return cast(F, _cached(numba.njit(fastmath=fastmath, **_KERNEL_OPTIONS)(function)))

    return compile_lazily


def parallel_kernel(function: F) -> F:
    """Compile a kernel with a parallel loop, cached on disk, without the GIL."""
    return cast(F, _cached(numba.njit(parallel=True, **_KERNEL_OPTIONS)(function)))


def _cached(dispatcher: Any) -> Any:
    if not JIT_DISABLED:
        dispatcher._cache = KernelCache(dispatcher.py_func)
    return dispatcher


def helper(*, inline: bool = True, reassociate: bool = False) -> Callable[[F], F]:
    """Compile a helper that compiled code calls; `inline`: into all that do, else where LLVM finds that worth it.

    It has no wrappers that unpack Python's arguments, and no machine code of its own: should Python call it, it is
    compiled once more, with them.
    """
    options: dict[str, Any] = {
        "forceinline": inline, "fastmath": {"reassoc"} if reassociate else False, **_HELPER_OPTIONS,
    }  # fmt: skip

    def compile_lazily(function: F) -> F:
        made = _cached(numba.njit(**options)(function))
        if not JIT_DISABLED:
            # Most are never called from Python: what is compiled then is not made before, as that takes its time.
            whole = functools.cache(lambda: numba.njit(fastmath=options["fastmath"], **_SCALAR_OPTIONS)(function))
            # Otherwise Numba's dispatcher would take the wrapper, which is not there, from its table.
            made._insert = lambda *entry: None
            made._compile_for_args = lambda *args, **named: whole()
        return cast(F, made)

    return compile_lazily


def scalar(function: F) -> F:
    """Compile a helper that is inlined wherever compiled code calls it."""
    return helper()(function)


class ByType(Protocol):
    """A function whose implementations are chosen by the type of its first argument."""

    __name__: str

    def __call__(self, *args: Any) -> Any:
        """Call the implementation for the type of the first argument."""

    def register(self, cls: type) -> Callable[[F], F]:
        """Take the decorated implementation for a NamedTuple class, or for ``np.float64`` or ``np.float32`` scalars.

        That for `object` is of all NamedTuples that have none of their own.
        """

    def implementation(self, cls: type) -> Callable[..., Any] | None:
        """What is called for a NamedTuple class; None if there is nothing."""

    def settle(self, cls: type) -> None:
        """Refuse other implementations for a class from now on: it has been compiled."""


def _listed(names: tuple[str, ...]) -> str:
    return f"({', '.join(names)})"


def by_type(stub: Callable[..., Any]) -> ByType:
    """Make `stub` a function chosen by the type of its first argument, compiled or not.

    Unlike jitted functions passed as arguments, a kernel that calls it is reused from the disk cache.
    """
    methods: dict[type, Callable[..., Any]] = {}
    wanted, settled = tuple(inspect.signature(stub).parameters), set[type]()

    @functools.wraps(stub)
    def dispatch(*args: Any) -> Any:
        # Python floats count as float64.
        found = methods.get(type(args[0])) or methods.get(np.float64) or methods.get(object)
        if found is None:
            raise TypeError(f"{stub.__name__} has no implementation for {type(args[0]).__name__}")
        return found(*args)

    def implementation(cls: type) -> Callable[..., Any] | None:
        return methods.get(cls) or methods.get(object)

    def choose(*args: Any) -> Callable[..., Any] | None:
        first = args[0]
        if isinstance(first, types.BaseNamedTuple):
            return implementation(first.instance_class)
        real = {types.float64: np.float64, types.float32: np.float32}.get(first)
        return None if real is None else methods.get(real)

    overload(dispatch, strict=False, jit_options=_HELPER_OPTIONS)(choose)

    def register(cls: type) -> Callable[[F], F]:
        def keep(implementation: F) -> F:
            given = tuple(inspect.signature(implementation).parameters)
            if given != wanted:
                raise TypeError(f"{stub.__name__} of {cls.__name__} must take {_listed(wanted)}, got {_listed(given)}")
            if any(step.opname == "RAISE_VARARGS" for step in dis.get_instructions(implementation)):
                raise TypeError(f"{stub.__name__} of {cls.__name__} must not raise: nobody can catch it, NaN is read")
            if cls in settled:
                raise TypeError(
                    f"{stub.__name__} of {cls.__name__} is compiled and stays as it is: define {cls.__name__}, all "
                    "that is registered for it and the class that has it again, together"
                )
            methods[cls] = implementation
            return implementation

        return keep

    dispatch.settle = settled.add  # type: ignore[attr-defined]
    dispatch.implementation = implementation  # type: ignore[attr-defined]
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

        overload(face, strict=False, jit_options=_HELPER_OPTIONS)(choose)
        return implementation

    return keep


def c_function(body: Callable[..., None], arguments: int, *chosen: Any) -> Any:
    """Compile `body`, a function of so many pointers, so that compiled code can call it by its ``.address``.

    What calls it need not be compiled anew for each such function, nor contain it. `chosen` are functions and classes
    that `body` takes from where it was made: they may lie outside of the package.
    """
    made: Any = CFunc(body, ((types.voidptr,) * arguments, types.void), locals={}, options=dict(_SCALAR_OPTIONS))
    made._cache = KernelCache(body, *chosen)
    try:
        with compiling():
            made.compile()
    except NumbaError as error:
        raise CompileError(_cause(str(error))) from error
    return made


class CompileError(TypeError):
    """Code that Numba does not compile, with its reason in one line."""


def _cause(message: str) -> str:
    """What is at the bottom of a message of Numba, with where it is."""
    message = re.sub(r"\x1b\[[0-9;]*m", "", message)
    inner = [line.strip() for line in message.rpartition("Failed in nopython mode pipeline")[2].splitlines()[1:]]
    reason = next((line for line in inner if line and not line.startswith(("During", "File"))), "")
    place = re.search(r'File "([^"]+)", line (\d+)', "\n".join(inner))
    return reason + (f" ({place[1]}, line {place[2]})" if place else "")


def block_function(function: Callable[..., None], job: Any) -> Any:
    """Compile ``function(b, job)``, for jobs of a `structs.Reference` type, as a C function of number and pointer."""
    made: Any = CFunc(function, ((types.int64, job), types.void), locals={}, options=dict(_SCALAR_OPTIONS))
    made._cache = KernelCache(function)
    with compiling():
        made.compile()
    return made
