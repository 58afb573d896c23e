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
from itertools import accumulate, pairwise
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tapcore._base.intrinsics import JIT_DISABLED, address_of, array_at, call_address, tuple_at
from tapcore._base.jit import ByType, CompileError, c_function, kernel, scalar
from tapcore._base.random import WORDS, Stream
from tapcore._base.structs import address
from tapcore.units.rows import USED, Array, row_cumulants, row_draw, row_log_z, row_moments, row_slab, row_third


class Block(Protocol):
    """What kernels take of a unit type: the NamedTuple of its parameters, these, and how wide its sites are."""

    names: ClassVar[tuple[str, ...]]
    site_type: ClassVar[Any]
    parameters: dict[str, Array]

    @property
    def columns(self) -> int:
        """Numbers of a row."""

    @property
    def widths(self) -> NDArray[np.int64] | None:
        """Columns of each site, where they are several."""


class Layer(Protocol):
    """What kernels take of a layer: blocks of one unit type each, whose columns stand one after another."""

    @property
    def blocks(self) -> Sequence[Block]:
        """At least one."""

    @property
    def columns(self) -> int:
        """Numbers of a row."""


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
_KINDS: dict[Any, int] = {}


class Sites(NamedTuple):
    """Layers of units for kernels: their parameters, and where the functions of their types are."""

    values: Array  # parameters of all blocks, one array after another
    size: NDArray[np.int64]  # (layers,) columns
    block: NDArray[np.int64]  # (layers + 1,) where the blocks of each layer begin
    wide: NDArray[np.int64]  # (layers + 1,) where its sites of several columns begin in `span`
    span: NDArray[np.int64]  # (sites of several columns, 2) first column in the layer, and columns
    begin: NDArray[np.int64]  # (blocks, 2) where its parameters begin, and its columns in the layer
    layout: NDArray[np.int64]  # (blocks, 1 + most parameters) columns; where each parameter ends
    kind: NDArray[np.int64]  # (blocks,) site type
    code: NDArray[np.int64]  # (blocks, functions) addresses; a refusal's where not asked for

    def parameters(self, layer: int) -> dict[str, Array]:
        """Parameter arrays of a layer by name, as its `parameters` has them: views, for training to write to."""
        blocks = range(self.block[layer], self.block[layer + 1])
        sites = [_site(self, i)._asdict() for i in blocks]
        return sites[0] if len(sites) == 1 else named_by_block(sites)

    def site(self, layer: int) -> Any:
        """NamedTuple of the same, of a layer of one block."""
        (block,) = range(self.block[layer], self.block[layer + 1])
        return _site(self, block)

    def above(self) -> Sites:
        """The layers but the lowest, sharing memory."""
        return self._replace(size=self.size[1:], block=self.block[1:], wide=self.wide[1:])

    def need(self, *functions: int) -> Sites:
        """Have these functions ready, compiled or loaded from the cache if they are not yet.

        ValueError, naming the type of the layer and what it cannot do, where one is not registered.
        """
        dtype, first = _dtype_name(self.values.dtype), int(self.block[0])
        kinds = self.kind[first : self.block[-1]].tolist()
        for number in functions:
            for kind in kinds:
                _check(_SITE_TYPES[kind], _LAYER_TYPES[kind], number)
        for number in functions:
            for i, kind in enumerate(kinds):
                self.code[first + i, number] = _address(_compiled, number, _SITE_TYPES[kind], dtype)
        return self


def named_by_block(blocks: Sequence[dict[str, Array]]) -> dict[str, Array]:
    """What blocks have by name, as a layer of several has it: names are preceded by the number of the block."""
    return {f"{i}.{name}": value for i, values in enumerate(blocks) for name, value in values.items()}


def can(layer: Layer, function: int) -> bool:
    """Whether the type of a layer has registered a function."""
    return all(_FUNCTIONS[function].implementation(block.site_type) is not None for block in layer.blocks)


def check_can(layers: Sequence[Layer], *functions: int) -> None:
    """Raise ValueError, naming the type of the layer and what it cannot do, unless all have these functions."""
    for block in _blocks_of(layers):
        for number in functions:
            _check(block.site_type, _name_of(block), number)


def _check(site_type: Any, layer_type: str, number: int) -> None:
    if _FUNCTIONS[number].implementation(site_type) is None:
        raise ValueError(
            f"{layer_type} layers have no {_CAPABILITIES[number]}: {_FUNCTIONS[number].__name__} is not registered "
            f"for {site_type.__name__}"
        )


def _blocks_of(layers: Sequence[Layer]) -> list[Block]:
    return [block for layer in layers for block in layer.blocks]


def _name_of(block: Block) -> str:
    """Of the type that brings the site type: types below it may share that."""
    return next(cls.__name__ for cls in type(block).__mro__ if "site_type" in vars(cls))


def _site(sites: Any, block: int) -> Any:
    cls, first = _SITE_TYPES[sites.kind[block]], int(sites.begin[block, 0])
    ends = [first, *(first + sites.layout[block, 1 : 1 + len(cls._fields)]).tolist()]
    return cls(*(sites.values[a:z] for a, z in pairwise(ends)))


def sites_of(layers: Sequence[Layer], *functions: int) -> Sites:
    """Copy the parameters of layers of one dtype for kernels that call `functions`."""
    blocks = _blocks_of(layers)
    values = np.concatenate([block.parameters[name] for block in blocks for name in block.names])
    kinds = [_kind_of(block) for block in blocks]
    dtype = _dtype_name(values.dtype)
    code = [_no_code(kind, dtype) for kind in kinds]
    size = np.array([layer.columns for layer in layers])
    made = Sites(values, size, *_places(layers), *_layout(layers), np.array(kinds), np.array(code))
    return made.need(*functions)


@functools.cache  # NumPy makes it anew each time
def _dtype_name(dtype: Any) -> str:
    return str(dtype.name)


def _kind_of(block: Block) -> int:
    """Number of the type of a block's sites."""
    kind = _KINDS.setdefault(block.site_type, len(_SITE_TYPES))
    if kind == len(_SITE_TYPES):
        _SITE_TYPES.append(block.site_type)
        _LAYER_TYPES.append(_name_of(block))
    return kind


@functools.cache
def _no_code(kind: int, dtype: str) -> list[int]:
    """Addresses of functions that were not asked for; none is ever 0, but where nothing is compiled."""
    if JIT_DISABLED:
        return [0] * len(_FUNCTIONS)
    return [_address(_refused, number, _SITE_TYPES[kind], dtype) for number in range(len(_FUNCTIONS))]


def _layout(layers: Sequence[Layer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`begin` and `layout` of `Sites`."""
    begin, layout, first = [], [], 0
    for layer in layers:
        column = 0
        for block in layer.blocks:
            columns = block.columns
            ends = list(accumulate(block.parameters[name].size for name in block.names))
            begin.append((first, column))
            layout.append([columns, *ends])
            first, column = first + ends[-1], column + columns
    most = max(map(len, layout))
    return np.array(begin), np.array([[*row, *[0] * (most - len(row))] for row in layout])


def _places(layers: Sequence[Layer]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """`block`, `wide` and `span` of `Sites`."""
    block, wide, span = [0], [0], []
    for layer in layers:
        column = 0
        for own in layer.blocks:
            if (widths := own.widths) is not None:
                ends = column + np.cumsum(widths)
                span += [(end - width, width) for end, width in zip(ends, widths, strict=True) if width > 1]
            column += own.columns
        block.append(block[-1] + len(layer.blocks))
        wide.append(len(span))
    return np.array(block), np.array(wide), np.array(span, np.int64).reshape(-1, 2)


def _address(function: Callable[[int, Any, str], Any], number: int, site_type: Any, dtype: str) -> int:
    """Of a function for a site type; where nothing is compiled, 1 of those asked for."""
    return 1 if JIT_DISABLED else int(function(number, site_type, dtype).address)


class _Refused:
    """A C function in the place of one that was not asked for: it writes NaN and raises, for Python to report."""

    def __init__(self, number: int, site_type: Any, dtype: str) -> None:
        number_type: Any = np.ctypeslib.as_ctypes_type(np.dtype(dtype))

        def refuse(values: int, layout: int, *arrays: int) -> None:
            n = ctypes.c_int64.from_address(layout).value
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
    function.settle(site_type)
    for part in USED.get(site_type, ()):
        part.ready()
    try:
        return c_function(make(function, site_type, np.dtype(dtype).type(0)), 6, *chosen)
    except CompileError as error:
        raise TypeError(f"{function.__name__} of {site_type.__name__} does not compile: {error}") from error


# Bodies of the C functions, of pointers to a block's parameters and layout and to four arrays, or three and nothing.
def _of_four(function: ByType, site_type: Any, like: Any) -> Callable[..., None]:
    def call(values: Any, layout: Any, a: Any, b: Any, c: Any, d: Any) -> None:
        n = array_at(layout, 1, np.int64(0))[0]
        x, y, z, w = array_at(a, n, like), array_at(b, n, like), array_at(c, n, like), array_at(d, n, like)
        function(tuple_at(site_type, values, layout, like), x, y, z, w)

    return call


def _of_three(function: ByType, site_type: Any, like: Any) -> Callable[..., None]:
    def call(values: Any, layout: Any, a: Any, b: Any, c: Any, d: Any) -> None:
        n = array_at(layout, 1, np.int64(0))[0]
        x, y, z = array_at(a, n, like), array_at(b, n, like), array_at(c, n, like)
        function(tuple_at(site_type, values, layout, like), x, y, z)

    return call


def _of_stream(function: ByType, site_type: Any, like: Any) -> Callable[..., None]:
    def call(values: Any, layout: Any, a: Any, b: Any, c: Any, d: Any) -> None:
        n = array_at(layout, 1, np.int64(0))[0]
        x, y, w = array_at(a, n, like), array_at(b, n, like), array_at(d, n, like)
        function(tuple_at(site_type, values, layout, like), x, y, array_at(c, WORDS, np.uint64(0)), w)

    return call


@scalar
def _call(sites: Sites, layer: int, number: int, a: int, b: int, c: int, d: int) -> None:
    """Call a function of the units of `layer`, block by block, on arrays at these addresses."""
    width = sites.values.itemsize
    for i in range(sites.block[layer], sites.block[layer + 1]):
        values, layout = address_of(sites.values[sites.begin[i, 0] :]), address_of(sites.layout[i])
        on = sites.begin[i, 1] * width
        # A stream of random numbers is the same for all blocks.
        third = c if number == DRAW else c + on
        call_address(sites.code[i, number], (values, layout, a + on, b + on, third, d + on))


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
        for i in range(sites.block[layer], sites.block[layer + 1]):
            site, first = _site(sites, i), sites.begin[i, 1]
            if sites.code[i, number] == 0:
                raise _not_asked_for(number, type(site))
            own = slice(first, first + sites.layout[i, 0])
            _FUNCTIONS[number](site, *(x if (number, j) == (DRAW, 2) else x[own] for j, x in enumerate(arrays)))

    return call


layer_moments: Callable[..., None] = _in_python(MOMENTS) if JIT_DISABLED else _layer_moments
layer_log_z: Callable[..., None] = _in_python(LOG_Z) if JIT_DISABLED else _layer_log_z
layer_third: Callable[..., None] = _in_python(THIRD) if JIT_DISABLED else _layer_third
layer_cumulants: Callable[..., None] = _in_python(CUMULANTS) if JIT_DISABLED else _layer_cumulants
layer_slab: Callable[..., None] = _in_python(SLAB) if JIT_DISABLED else _layer_slab
layer_draw: Callable[..., None] = _in_python(DRAW) if JIT_DISABLED else _layer_draw


# What Python calls.


@kernel()
def _call_rows(code: int, first: NDArray[np.int64], step: NDArray[np.int64], count: int) -> None:
    """Call a C function `count` times, with what begins at the addresses `first` and is so many bytes further on."""
    for k in range(count):
        a, b, c = first[0] + k * step[0], first[1] + k * step[1], first[2] + k * step[2]
        d, e, f = first[3] + k * step[3], first[4] + k * step[4], first[5] + k * step[5]
        call_address(code, (a, b, c, d, e, f))


def call_rows(sites: Sites, number: int, *arrays: Array) -> None:
    """Call a function of one layer on every row of its arrays, C-ordered (K, columns); a stream is one for all rows."""
    stays = [number == DRAW and j == 2 for j in range(len(arrays))]
    if JIT_DISABLED:
        call = _in_python(number)
        for k in range(len(arrays[0])):
            call(sites, 0, *(x if stay else x[k] for x, stay in zip(arrays, stays, strict=True)))
        return
    first, step = np.zeros((2, 6), np.int64)
    for i in range(len(sites.begin)):
        values, column = sites.begin[i].tolist()
        first[0], first[1] = address(sites.values[values:]), address(sites.layout[i])
        for j, (x, stay) in enumerate(zip(arrays, stays, strict=True), 2):
            first[j], step[j] = (address(x), 0) if stay else (address(x) + column * x.itemsize, x.strides[0])
        _call_rows(int(sites.code[i, number]), first, step, len(arrays[0]))
