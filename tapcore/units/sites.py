"""Layers of any units as kernels take them: one type for all, so that a kernel compiles once whatever the units are.

What a unit does is compiled apart, once for each unit type and dtype, and called by its address. The call costs some
nanoseconds a row; compiled into every kernel for each combination of units it would cost the user seconds each time.

A kernel that calls a function which was not asked for (`Sites.need`) is a mistake in this package. It gives NaN, and an
error that Python reports by `sys.unraisablehook`, as nothing can be raised through compiled code; where nothing is
compiled it raises.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tapcore._base.intrinsics import JIT_DISABLED, address_of, array_at, call_address, tuple_at
from tapcore._base.jit import ByType, c_function, scalar
from tapcore._base.random import WORDS, Stream
from tapcore.units.rows import Array, row_cumulants, row_draw, row_log_z, row_moments, row_slab, row_third


class Layer(Protocol):
    """What kernels take of a unit type: its size, the NamedTuple of its parameters, and these."""

    names: ClassVar[tuple[str, ...]]
    site_type: ClassVar[Any]
    n: int
    parameters: dict[str, Array]


_FUNCTIONS = (row_moments, row_log_z, row_third, row_cumulants, row_slab, row_draw)
MOMENTS, LOG_Z, THIRD, CUMULANTS, SLAB, DRAW = range(len(_FUNCTIONS))
# What they are to a unit type, for messages, and which of the four arrays of a call they write.
_CAPABILITIES = (
    "moments",
    "ln Z",
    "third order (the third cumulant as a function of the mean)",
    "third and fourth cumulants",
    "slab probabilities",
    "draws",
)
_WRITTEN = ((2, 3), (2,), (1, 2), (2, 3), (2,), (3,))

# Site types met so far, and the layers they are of; `Sites.kind` counts in these lists.
_SITE_TYPES: list[Any] = []
_LAYER_TYPES: list[str] = []


class Sites(NamedTuple):
    """Layers of units for kernels: their parameters, and where the functions of their types are."""

    values: Array  # parameters of all layers, one array after another
    first: NDArray[np.int64]  # (layers,) where each layer's begin
    size: NDArray[np.int64]  # (layers,) units
    kind: NDArray[np.int64]  # (layers,) site type
    code: NDArray[np.int64]  # (layers, functions) addresses, 0 of those not asked for

    def parameters(self, layer: int) -> dict[str, Array]:
        """Parameter arrays of a layer by name: views, for training to write to."""
        return self.site(layer)._asdict()  # type: ignore[no-any-return]

    def site(self, layer: int) -> Any:
        """NamedTuple of the same."""
        return _site(self, layer)

    def need(self, *functions: int) -> Sites:
        """Have these functions ready, compiled or loaded from the cache if they are not yet.

        ValueError, naming the type of the layer and what it cannot do, where one is not registered.
        """
        kinds = self.kind.tolist()
        for number in functions:
            for kind in kinds:
                _check(_SITE_TYPES[kind], _LAYER_TYPES[kind], number)
        dtype = _dtype_name(self.values.dtype)
        for layer, kind in enumerate(kinds):
            for number in functions:
                self.code[layer, number] = _address(_compiled, number, _SITE_TYPES[kind], dtype)
        return self


def can(layer: Layer, function: int) -> bool:
    """Whether the type of a layer has registered a function."""
    return _FUNCTIONS[function].implementation(layer.site_type) is not None


def check_can(layers: Sequence[Layer], *functions: int) -> None:
    """Raise ValueError, naming the type of the layer and what it cannot do, unless all have these functions."""
    for layer in layers:
        for number in functions:
            _check(layer.site_type, _name_of(layer), number)


def _check(site_type: Any, layer_type: str, number: int) -> None:
    if _FUNCTIONS[number].implementation(site_type) is None:
        raise ValueError(
            f"{layer_type} layers have no {_CAPABILITIES[number]}: {_FUNCTIONS[number].__name__} is not registered "
            f"for {site_type.__name__}"
        )


def _name_of(layer: Layer) -> str:
    """Of the type that brings the site type: types below it may share that."""
    return next(cls.__name__ for cls in type(layer).__mro__ if "site_type" in vars(cls))


def _site(sites: Any, layer: int) -> Any:
    cls, first, n = _SITE_TYPES[sites.kind[layer]], int(sites.first[layer]), int(sites.size[layer])
    return cls(*(sites.values[first + i * n : first + (i + 1) * n] for i in range(len(cls._fields))))


def sites_of(layers: Sequence[Layer], *functions: int) -> Sites:
    """Copy the parameters of layers of one dtype for kernels that call `functions`."""
    arrays = [p for layer in layers for p in layer.parameters.values()]
    for layer in layers:
        if layer.site_type not in _SITE_TYPES:
            _SITE_TYPES.append(layer.site_type)
            _LAYER_TYPES.append(_name_of(layer))
    ends = [0, *accumulate(layer.n * len(layer.names) for layer in layers)]
    dtype = _dtype_name(arrays[0].dtype)
    made = Sites(
        values=np.concatenate(arrays),
        first=np.array(ends[:-1], np.int64),
        size=np.array([layer.n for layer in layers], np.int64),
        kind=np.array([_SITE_TYPES.index(layer.site_type) for layer in layers], np.int64),
        code=np.array([_refusals(layer.site_type, dtype) for layer in layers], np.int64),
    )
    return made.need(*functions)


@functools.cache  # NumPy makes it anew each time
def _dtype_name(dtype: Any) -> str:
    return str(dtype.name)


@functools.cache
def _refusals(site_type: Any, dtype: str) -> tuple[int, ...]:
    """What stands for functions that were not asked for: no address is ever 0."""
    return tuple(0 if JIT_DISABLED else _address(_refused, i, site_type, dtype) for i in range(len(_FUNCTIONS)))


def _address(function: Callable[[int, Any, str], Any], number: int, site_type: Any, dtype: str) -> int:
    """Of a function for a site type; where nothing is compiled, 1 of those asked for."""
    return 1 if JIT_DISABLED else int(function(number, site_type, dtype).address)


class _Refused:
    """A C function in the place of one that was not asked for: it writes NaN and raises, for Python to report."""

    def __init__(self, number: int, site_type: Any, dtype: str) -> None:
        number_type: Any = np.ctypeslib.as_ctypes_type(np.dtype(dtype))

        def refuse(values: int, size: int, *arrays: int) -> None:
            n = ctypes.c_int64.from_address(size).value
            for i in _WRITTEN[number]:
                np.ctypeslib.as_array((number_type * n).from_address(arrays[i]))[:] = np.nan
            raise _not_asked_for(number, site_type)

        self._kept = _FUNCTION_OF_SIX(refuse)
        self.address = ctypes.cast(self._kept, ctypes.c_void_p).value


_FUNCTION_OF_SIX = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 6)
_refused = functools.cache(_Refused)


def _not_asked_for(number: int, site_type: Any) -> RuntimeError:
    name = _FUNCTIONS[number].__name__
    return RuntimeError(f"{name} of {site_type.__name__} was not asked for: Sites.need comes before the kernel")


@functools.cache  # which also keeps them in memory
def _compiled(number: int, site_type: Any, dtype: str) -> Any:
    make = _of_stream if number == DRAW else _of_three if number in (LOG_Z, THIRD, SLAB) else _of_four
    function = _FUNCTIONS[number]
    chosen = (site_type, function.implementation(site_type) or function)
    return c_function(make(function, site_type, np.dtype(dtype).type(0)), 6, *chosen)


# Bodies of the C functions, of pointers to the layer's parameters and size and to four arrays, or three and nothing.
def _of_four(function: ByType, site_type: Any, like: Any) -> Callable[..., None]:
    def call(values: Any, size: Any, a: Any, b: Any, c: Any, d: Any) -> None:
        n = array_at(size, 1, np.int64(0))[0]
        x, y, z, w = array_at(a, n, like), array_at(b, n, like), array_at(c, n, like), array_at(d, n, like)
        function(tuple_at(site_type, values, n, like), x, y, z, w)

    return call


def _of_three(function: ByType, site_type: Any, like: Any) -> Callable[..., None]:
    def call(values: Any, size: Any, a: Any, b: Any, c: Any, d: Any) -> None:
        n = array_at(size, 1, np.int64(0))[0]
        x, y, z = array_at(a, n, like), array_at(b, n, like), array_at(c, n, like)
        function(tuple_at(site_type, values, n, like), x, y, z)

    return call


def _of_stream(function: ByType, site_type: Any, like: Any) -> Callable[..., None]:
    def call(values: Any, size: Any, a: Any, b: Any, c: Any, d: Any) -> None:
        n = array_at(size, 1, np.int64(0))[0]
        x, y, w = array_at(a, n, like), array_at(b, n, like), array_at(d, n, like)
        function(tuple_at(site_type, values, n, like), x, y, array_at(c, WORDS, np.uint64(0)), w)

    return call


@scalar
def _call(sites: Sites, layer: int, number: int, a: int, b: int, c: int, d: int) -> None:
    """Call a function of the units of `layer` on arrays at these addresses."""
    values, size = address_of(sites.values[sites.first[layer] :]), address_of(sites.size[layer:])
    call_address(sites.code[layer, number], (values, size, a, b, c, d))


# What kernels call, for layer `layer`.


@scalar
def _layer_moments(sites: Sites, layer: int, B: Array, A: Array, mean: Array, var: Array) -> None:
    _call(sites, layer, MOMENTS, address_of(B), address_of(A), address_of(mean), address_of(var))


@scalar
def _layer_log_z(sites: Sites, layer: int, B: Array, A: Array, log_z: Array) -> None:
    _call(sites, layer, LOG_Z, address_of(B), address_of(A), address_of(log_z), 0)


@scalar
def _layer_third(sites: Sites, layer: int, mean: Array, third: Array, slope: Array) -> None:
    _call(sites, layer, THIRD, address_of(mean), address_of(third), address_of(slope), 0)


@scalar
def _layer_cumulants(sites: Sites, layer: int, B: Array, A: Array, third: Array, fourth: Array) -> None:
    _call(sites, layer, CUMULANTS, address_of(B), address_of(A), address_of(third), address_of(fourth))


@scalar
def _layer_slab(sites: Sites, layer: int, B: Array, A: Array, probability: Array) -> None:
    _call(sites, layer, SLAB, address_of(B), address_of(A), address_of(probability), 0)


@scalar
def _layer_draw(sites: Sites, layer: int, B: Array, A: Array, stream: Stream, x: Array) -> None:
    _call(sites, layer, DRAW, address_of(B), address_of(A), address_of(stream), address_of(x))


def _in_python(number: int) -> Callable[..., None]:
    """The same where nothing is compiled."""

    def call(sites: Any, layer: int, *arrays: Any) -> None:
        site = _site(sites, layer)
        if sites.code[layer, number] == 0:
            raise _not_asked_for(number, type(site))
        _FUNCTIONS[number](site, *arrays)

    return call


layer_moments: Callable[..., None] = _in_python(MOMENTS) if JIT_DISABLED else _layer_moments
layer_log_z: Callable[..., None] = _in_python(LOG_Z) if JIT_DISABLED else _layer_log_z
layer_third: Callable[..., None] = _in_python(THIRD) if JIT_DISABLED else _layer_third
layer_cumulants: Callable[..., None] = _in_python(CUMULANTS) if JIT_DISABLED else _layer_cumulants
layer_slab: Callable[..., None] = _in_python(SLAB) if JIT_DISABLED else _layer_slab
layer_draw: Callable[..., None] = _in_python(DRAW) if JIT_DISABLED else _layer_draw
