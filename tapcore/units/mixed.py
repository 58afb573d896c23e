"""Layers of several blocks, units of one type each, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore._base import checks
from tapcore.units.interface import Unit
from tapcore.units.rows import Array
from tapcore.units.sites import named_by_block
from tapcore.units.steps import Steps


class Mixed(Unit):
    """Blocks of units side by side in one layer, as for a table whose columns are of several kinds.

    Columns of the layer are those of the first block, then those of the second, and so on. All equations hold block by
    block. `parameters` has each array under its name in the block, after the block's number: ``"0.U"``.

    Parameters
    ----------
    *blocks : Unit
        At least one. Blocks of a `Mixed` layer among them take its place.

    Raises
    ------
    ValueError
        No block, or something that is no layer of units.
    """

    def __init__(self, *blocks: Unit) -> None:
        if not blocks or not all(isinstance(block, Unit) for block in blocks):
            raise ValueError(f"blocks must be layers of units such as tapcore.Binary(n), at least one, got {blocks!r}")
        flat = tuple(own for block in blocks for own in block.blocks)
        parameters = named_by_block([block.parameters for block in flat])
        kinds = dict.fromkeys(f"{block.support} in columns of {type(block).__name__} units" for block in flat)
        self.__dict__.update(
            n=sum(block.n for block in flat), parameters=parameters, names=tuple(parameters), _blocks=flat,
            fixed=tuple(f"{i}.{name}" for i, block in enumerate(flat) for name in block.fixed),
            support=", ".join(kinds),
        )  # fmt: skip

    @property
    def blocks(self) -> tuple[Unit, ...]:
        """The blocks."""
        return self.__dict__["_blocks"]  # type: ignore[no-any-return]

    @property
    def columns(self) -> int:
        """Numbers of a row."""
        return sum(block.columns for block in self.blocks)

    @property
    def widths(self) -> NDArray[np.int64] | None:
        """Columns of each site, (n,); None where each has one."""
        widths = [block.widths for block in self.blocks]
        if all(each is None for each in widths):
            return None
        ones = [np.ones(block.n, np.int64) if w is None else w for block, w in zip(self.blocks, widths, strict=True)]
        return np.concatenate(ones)

    def _parts(self, x: Array) -> list[Array]:
        """Columns of each block."""
        return np.split(x, np.cumsum([block.columns for block in self.blocks[:-1]]), axis=-1)

    def _each(self, function: Callable[[Unit, Array], Array], x: Array) -> Array:
        """What `function` makes of each block and its columns, side by side."""
        parts = zip(self.blocks, self._parts(x), strict=True)
        return np.concatenate([function(block, own) for block, own in parts], axis=-1)

    def _own(self, named: dict[str, Any]) -> list[dict[str, Any]]:
        """What each block has of `named`."""
        return [
            {name.partition(".")[2]: x for name, x in named.items() if name.partition(".")[0] == str(i)}
            for i in range(len(self.blocks))
        ]

    def log_weight(self, x: ArrayLike) -> Array:
        """Log of the weight at `x`, (..., n)."""
        return self._each(lambda block, own: block.log_weight(own), checks.real_array("x", x))

    def bounds(self) -> tuple[Array, Array]:
        """Ends of the interval in which every mean lies, each (n,)."""
        ends = [[np.broadcast_to(end, block.columns) for end in block.bounds()] for block in self.blocks]
        low, high = (np.concatenate(each) for each in zip(*ends, strict=True))
        return low, high

    def contains(self, x: Array) -> NDArray[np.bool_]:
        """Which entries of `x` (..., n) lie in the support."""
        return self._each(lambda block, own: block.contains(own), x)

    @classmethod
    def from_data(cls, X: ArrayLike, *args: Any, **kwargs: Any) -> Self:
        """Blocks like those in `args`, each fitted to its columns of `X` (samples, n) by its own `from_data`.

        ValueError for `X` of the wrong shape or not in the support.
        """
        return cls(*args, **kwargs).fitted(X)

    def fitted(self, X: ArrayLike) -> Self:
        """Blocks fitted to their columns of `X`, with the supports of these."""
        array = checks.matrix("X", X, self.columns, rows="samples")
        return type(self)(*(block.fitted(x) for block, x in zip(self.blocks, self._parts(array), strict=True)))

    def untouched(self) -> bool:
        """Whether every parameter of every block has its default, those of supports aside."""
        return all(block.untouched() for block in self.blocks)

    def random_means(self, count: int, rng: np.random.Generator) -> Array:
        """Means drawn from the range of means of each block: (`count`, n)."""
        return np.concatenate([block.random_means(count, rng) for block in self.blocks], axis=1)

    def statistics(self, mean: Array, var: Array, B: Array, A: Array, weights: Array | None = None) -> dict[str, Array]:
        """Per parameter, the average over rows of <d ln phi/d parameter>: rows `mean`, `var`, `B` and `A` (K, n).

        Rows count alike, or by `weights` (K,).
        """
        parts = zip(self.blocks, *(self._parts(x) for x in (mean, var, B, A)), strict=True)
        more = () if weights is None else (weights,)  # blocks of a type that has no such argument do without
        return named_by_block([block.statistics(*own, *more) for block, *own in parts])

    def data_statistics(self, X: Array) -> dict[str, Array]:
        """Per parameter, the average of d ln phi/d parameter over the samples `X` (samples, n)."""
        parts = zip(self.blocks, self._parts(X), strict=True)
        return named_by_block([block.data_statistics(own) for block, own in parts])

    def parameter_slopes(self, slopes: Array) -> dict[str, Array]:
        """Per parameter, the derivative of a function of ln Z and moments from its `slopes` (3, n)."""
        parts = zip(self.blocks, self._parts(slopes), strict=True)
        return named_by_block([block.parameter_slopes(own) for block, own in parts])

    def tail_precision(self) -> Array | None:
        """Precisions (n,) that hold values on the whole line, infinite of bounded ones; None where all are bounded."""
        found = [(block.columns, block.tail_precision()) for block in self.blocks]
        if all(precision is None for _, precision in found):
            return None
        return np.concatenate([np.full(n, np.inf) if precision is None else precision for n, precision in found])

    def has_density(self, x: Array) -> NDArray[np.bool_]:
        """Which entries of `x` (..., n) have a density, rather than a probability."""
        return self._each(lambda block, own: block.has_density(own), x)

    def rounded(self, x: Array) -> Array:
        """Values as the blocks hold them."""
        return self._each(lambda block, own: block.rounded(own), x)

    def standard(self) -> tuple[Array, Array] | None:
        """Shift and scale, (n,) each, of coordinates that suit the blocks; None where no block has other ones."""
        found = [(block.columns, block.standard()) for block in self.blocks]
        if all(own is None for _, own in found):
            return None
        both = [(np.zeros(n), np.ones(n)) if own is None else own for n, own in found]
        shift, scale = (np.concatenate(each) for each in zip(*both, strict=True))
        return shift, scale

    def _coordinates(self, shift: Array, scale: Array) -> Iterator[tuple[Unit, Array, Array]]:
        return zip(self.blocks, self._parts(shift), self._parts(scale), strict=True)

    def moved(self, shift: Array, scale: Array) -> Self:
        """Layer of ``x = shift + scale z`` where this one is of z; blocks without such coordinates stay."""
        each = self._coordinates(shift, scale)
        return type(self)(*(block if block.standard() is None else block.moved(of, to) for block, of, to in each))

    def inward(self, shift: Array, scale: Array) -> Self:
        """The layer of z for this one of ``x = shift + scale z``."""
        each = self._coordinates(shift, scale)
        return type(self)(*(block if block.standard() is None else block.inward(of, to) for block, of, to in each))

    def outward(self, shift: Array, scale: Array, before: Self) -> Self:
        """The layer of ``x = shift + scale z`` for this one of z, with the supports of `before`."""
        each = zip(self._coordinates(shift, scale), before.blocks, strict=True)
        return type(self)(
            *(block if block.standard() is None else block.outward(of, to, own) for (block, of, to), own in each)
        )

    def field_statistic(self, statistics: dict[str, Array]) -> Array:
        """The average of x, (n,), among `statistics`: averages of d ln phi/d parameter."""
        parts = zip(self.blocks, self._own(statistics), strict=True)
        return np.concatenate([block.field_statistic(own) for block, own in parts])

    def ascend(self, parameters: dict[str, Array], gradient: dict[str, Array], rate: float) -> None:
        """Take a training step in place, block by block."""
        for block, own, slopes in zip(self.blocks, self._own(parameters), self._own(gradient), strict=True):
            block.ascend(own, slopes, rate)

    def steps(self, model: dict[str, Array]) -> Steps:
        """Coordinates in which training moves the parameters: those of each block."""
        return _MixedSteps(self, [block.steps(own) for block, own in zip(self.blocks, self._own(model), strict=True)])

    def add_fields(self, parameters: dict[str, Array], fields: Array) -> None:
        """Change `parameters`, in place, as if `fields` (n,) were added to what neighbours send."""
        for block, own, added in zip(self.blocks, self._own(parameters), self._parts(fields), strict=True):
            block.add_fields(own, added)

    def with_parameters(self, parameters: dict[str, Array]) -> Self:
        """Copy with other `parameters`, taken over unchecked."""
        return type(self)(*(b.with_parameters(own) for b, own in zip(self.blocks, self._own(parameters), strict=True)))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.blocks

    def __eq__(self, other: object) -> bool:
        return self.blocks == other.blocks if isinstance(other, Mixed) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Mixed({', '.join(map(repr, self.blocks))})"


class _MixedSteps:
    """Coordinates of the parameters of every block."""

    def __init__(self, layer: Mixed, blocks: Sequence[Steps]) -> None:
        self.layer, self.blocks = layer, blocks

    def slopes(self, gradient: dict[str, Array]) -> dict[str, Array]:
        """Derivatives with respect to the coordinates, block by block."""
        parts = zip(self.blocks, self.layer._own(gradient), strict=True)
        return named_by_block([block.slopes(own) for block, own in parts])

    def take(self, parameters: dict[str, Array], directions: dict[str, Array], rate: float) -> None:
        """Move the parameters of every block in place."""
        parts = zip(self.blocks, self.layer._own(parameters), self.layer._own(directions), strict=True)
        for block, own, along in parts:
            block.take(own, along, rate)
