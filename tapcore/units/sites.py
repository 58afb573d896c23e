"""Layers of any units as kernels take them: one type for all, so that a kernel compiles once whatever the units are.

What a unit does is compiled apart, once for each unit type and dtype, and called by its address. The call costs some
nanoseconds a row; compiled into every kernel for each combination of units it would cost the user seconds each time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
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

# Site types met so far; `Sites.kind` counts in this list.
_SITE_TYPES: list[Any] = []


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
        """Have these functions ready, compiled or loaded from the cache if they are not yet."""
        if not JIT_DISABLED:
            for number in functions:
                for layer in np.flatnonzero(self.code[:, number] == 0):
                    site_type: Any = _SITE_TYPES[self.kind[layer]]
                    self.code[layer, number] = _compiled(number, site_type, self.values.dtype.name).address
        return self


def _site(sites: Any, layer: int) -> Any:
    cls, first, n = _SITE_TYPES[sites.kind[layer]], int(sites.first[layer]), int(sites.size[layer])
    return cls(*(sites.values[first + i * n : first + (i + 1) * n] for i in range(len(cls._fields))))


def sites_of(layers: Sequence[Layer], *functions: int) -> Sites:
    """Copy the parameters of layers of one dtype for kernels that call `functions`."""
    arrays = [p for layer in layers for p in layer.parameters.values()]
    for layer in layers:
        if layer.site_type not in _SITE_TYPES:
            _SITE_TYPES.append(layer.site_type)
    ends = np.cumsum([0] + [layer.n * len(layer.names) for layer in layers])
    made = Sites(
        values=np.concatenate(arrays),
        first=ends[:-1].astype(np.int64),
        size=np.array([layer.n for layer in layers], np.int64),
        kind=np.array([_SITE_TYPES.index(layer.site_type) for layer in layers], np.int64),
        code=np.zeros((len(layers), len(_FUNCTIONS)), np.int64),
    )
    return made.need(*functions)


@functools.cache  # which also keeps them in memory
def _compiled(number: int, site_type: Any, dtype: str) -> Any:
    make = _of_stream if number == DRAW else _of_three if number in (LOG_Z, THIRD, SLAB) else _of_four
    function = _FUNCTIONS[number]
    chosen = (site_type, function.implementations.get(site_type, function))
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


# What kernels call, for layer `layer`. A function that was not asked for gives NaN.


@scalar
def _layer_moments(sites: Sites, layer: int, B: Array, A: Array, mean: Array, var: Array) -> None:
    if sites.code[layer, MOMENTS] == 0:
        mean[:], var[:] = np.nan, np.nan
        return
    _call(sites, layer, MOMENTS, address_of(B), address_of(A), address_of(mean), address_of(var))


@scalar
def _layer_log_z(sites: Sites, layer: int, B: Array, A: Array, log_z: Array) -> None:
    if sites.code[layer, LOG_Z] == 0:
        log_z[:] = np.nan
        return
    _call(sites, layer, LOG_Z, address_of(B), address_of(A), address_of(log_z), 0)


@scalar
def _layer_third(sites: Sites, layer: int, mean: Array, third: Array, slope: Array) -> None:
    if sites.code[layer, THIRD] == 0:
        third[:], slope[:] = np.nan, np.nan
        return
    _call(sites, layer, THIRD, address_of(mean), address_of(third), address_of(slope), 0)


@scalar
def _layer_cumulants(sites: Sites, layer: int, B: Array, A: Array, third: Array, fourth: Array) -> None:
    if sites.code[layer, CUMULANTS] == 0:
        third[:], fourth[:] = np.nan, np.nan
        return
    _call(sites, layer, CUMULANTS, address_of(B), address_of(A), address_of(third), address_of(fourth))


@scalar
def _layer_slab(sites: Sites, layer: int, B: Array, A: Array, probability: Array) -> None:
    if sites.code[layer, SLAB] == 0:
        probability[:] = np.nan
        return
    _call(sites, layer, SLAB, address_of(B), address_of(A), address_of(probability), 0)


@scalar
def _layer_draw(sites: Sites, layer: int, B: Array, A: Array, stream: Stream, x: Array) -> None:
    if sites.code[layer, DRAW] == 0:
        x[:] = np.nan
        return
    _call(sites, layer, DRAW, address_of(B), address_of(A), address_of(stream), address_of(x))


def _in_python(function: ByType) -> Callable[..., None]:
    """The same where nothing is compiled."""

    def call(sites: Any, layer: int, *arrays: Any) -> None:
        function(_site(sites, layer), *arrays)

    return call


layer_moments: Callable[..., None] = _in_python(row_moments) if JIT_DISABLED else _layer_moments
layer_log_z: Callable[..., None] = _in_python(row_log_z) if JIT_DISABLED else _layer_log_z
layer_third: Callable[..., None] = _in_python(row_third) if JIT_DISABLED else _layer_third
layer_cumulants: Callable[..., None] = _in_python(row_cumulants) if JIT_DISABLED else _layer_cumulants
layer_slab: Callable[..., None] = _in_python(row_slab) if JIT_DISABLED else _layer_slab
layer_draw: Callable[..., None] = _in_python(row_draw) if JIT_DISABLED else _layer_draw
