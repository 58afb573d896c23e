"""A machine: a chain of layers and the weights between neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore._base import checks, footprint
from tapcore.units import Unit

DTYPES = ("float64", "float32")


class Machine:
    """A chain of layers with ``P(x, h, ...) = exp(x W h + ...) prod phi_i(x_i) prod phi_j(h_j) ... / Z``; immutable.

    An RBM is two layers, a deep machine more. Layer 0 is visible.

    Parameters
    ----------
    layers : sequence of Unit
        At least two.
    weights : sequence of (n_l, n_{l+1}) array_like
        One for each pair of neighbours; finite.
    dtype : {"float64", "float32"}
        What weights and parameters are stored in and what everything that sweeps runs in.

    Attributes
    ----------
    layers : tuple of Unit
    weights : tuple of (n_l, n_{l+1}) array
        Read-only.
    dtype : numpy.dtype

    Raises
    ------
    ValueError
        Fewer than two layers, weights of the wrong number or shape or not finite, an unknown dtype.
    """

    __slots__ = ("dtype", "layers", "weights")

    layers: tuple[Unit, ...]
    weights: tuple[NDArray[Any], ...]
    dtype: np.dtype[Any]

    def __init__(self, layers: Sequence[Unit], weights: Sequence[ArrayLike], dtype: Any = "float64") -> None:
        given: Any = weights
        if isinstance(given, np.ndarray) and given.ndim == 2:
            raise ValueError("weights must be a sequence of matrices, one per pair of layers: put the array in a tuple")
        layers, weights = tuple(layers), tuple(weights)
        try:
            name = np.dtype(dtype).name
        except TypeError:
            name = dtype
        dtype = np.dtype(checks.choice("dtype", name, DTYPES))
        if len(layers) < 2 or not all(isinstance(layer, Unit) for layer in layers):
            raise ValueError(f"layers must be at least two units such as tapcore.Binary(n), got {layers!r}")
        if len(weights) != len(layers) - 1:
            raise ValueError(
                f"weights must hold {len(layers) - 1} matrices, one per pair of layers, got {len(weights)}"
            )
        set_ = object.__setattr__
        set_(self, "dtype", dtype)
        set_(self, "layers", tuple(_layer(f"layers[{i}]", layer, dtype) for i, layer in enumerate(layers)))
        shapes = pairwise(layer.columns for layer in self.layers)
        pairs = enumerate(zip(weights, shapes, strict=True))
        set_(self, "weights", tuple(_weight(f"weights[{i}]", W, shape, dtype) for i, (W, shape) in pairs))

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("a Machine is immutable: use machine.replace(...)")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("a Machine is immutable")

    def __reduce__(self) -> tuple[Any, ...]:
        return Machine, (self.layers, self.weights, self.dtype.name)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of a row of each layer: its units, or their columns where they have several."""
        return tuple(layer.columns for layer in self.layers)

    def replace(
        self, *, layers: Sequence[Unit] | None = None, weights: Sequence[ArrayLike] | None = None, dtype: Any = None
    ) -> Machine:
        """Copy with the given `layers`, `weights` or `dtype` in place of these; what is None stays as it is.

        Parameters and errors are those of `Machine`.
        """
        return Machine(
            self.layers if layers is None else layers,
            self.weights if weights is None else weights,
            self.dtype if dtype is None else dtype,
        )

    def at(self, beta: float) -> Machine:
        """The machine at an inverse temperature: couplings times `beta`, units as they are.

        At 0 units are independent, and the equations have one solution; as `beta` rises there come more, as in
        training, where the spread of the weights grows. Couplings of units of states 0 and 1 also act as fields, which
        change with them and may leave few solutions at a `beta` above 1.

        Parameters
        ----------
        beta : float
            At least 0; 1 is this machine.

        Raises
        ------
        ValueError
            `beta` is negative or not finite, or weights times it are not finite.
        """
        beta = checks.number("beta", beta, minimum=0)
        with np.errstate(over="ignore"):
            return self.replace(weights=[W * W.dtype.type(beta) for W in self.weights])

    def in_gauge(self, gauge: str) -> Machine:
        """The same law with other numbers: weights of sites of several columns in a gauge.

        One column of such a site is on at a time, so that a number added to all weights between the site and a unit of
        the next layer adds the same field, whatever the state, and can be taken off that unit's own field.

        Parameters
        ----------
        gauge : {"zero-sum"}
            Weights between each site and each unit add up to 0 over the site's columns: those of least squares, by
            which sites can be compared.

        Returns
        -------
        Machine
            Solutions, free energies and likelihoods are those of this one. Itself where no site has several columns.

        Raises
        ------
        ValueError
            An unknown gauge, or a machine whose new parameters are not finite.
        """
        checks.choice("gauge", gauge, ("zero-sum",))
        weights = [np.array(W, np.float64) for W in self.weights]
        fields = [np.zeros(layer.columns) for layer in self.layers]
        for i, layer in enumerate(self.layers):
            if layer.widths is None:
                continue
            site = np.repeat(np.arange(layer.n), layer.widths)
            first = np.cumsum(layer.widths) - layer.widths
            # Rows of columns of this layer, a pair above and a pair below.
            for pair, other in ((i, i + 1), (i - 1, i - 1)):
                if 0 <= pair < len(weights):
                    rows = weights[pair] if other > i else weights[pair].T
                    shared = np.add.reduceat(rows, first, axis=0) / layer.widths[:, None]
                    shared[layer.widths == 1] = 0
                    rows -= shared[site]
                    fields[other] += shared.sum(axis=0)
        if not any(x.any() for x in fields):
            return self
        return self.replace(
            layers=[_with_fields(*pair) for pair in zip(self.layers, fields, strict=True)], weights=weights
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Machine):
            return NotImplemented
        return (
            self.dtype == other.dtype
            and self.layers == other.layers
            and all(np.array_equal(a, b) for a, b in zip(self.weights, other.weights, strict=True))
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Machine({', '.join(map(repr, self.layers))}, dtype={self.dtype.name!r})"


def _weight(name: str, value: ArrayLike, shape: tuple[int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
    array = checks.real_array(name, value)
    if array.shape != shape:
        hint = ": give its transpose" if array.shape == shape[::-1] else ""
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}{hint}")
    checks.finite(name, array)
    with np.errstate(over="ignore"):
        array = np.array(array, dtype=dtype, order="C")
    _finite_in(name, array)
    array.flags.writeable = False
    return array


def _with_fields(layer: Unit, fields: NDArray[np.float64]) -> Unit:
    """A layer on which these fields, (columns,), act by its own parameters."""
    parameters = {name: p.copy() for name, p in layer.parameters.items()}
    layer.add_fields(parameters, fields.astype(layer.dtype))
    return layer.with_parameters(parameters)


def _layer(name: str, layer: Unit, dtype: np.dtype[Any]) -> Unit:
    with np.errstate(over="ignore"):
        layer = layer.astype(dtype)
    for parameter, array in layer.parameters.items():
        _finite_in(f"{name}.{parameter}", array)
    try:
        for block in layer.blocks:
            block.check_parameters(block.parameters)
    except ValueError as error:  # true of float64 and, rounded, no more
        raise ValueError(f"{name} in {dtype}: {error}") from None
    return layer


def _finite_in(name: str, array: NDArray[Any]) -> None:
    """Refuse what float64 can hold and the machine's dtype cannot."""
    checks.every(name, array, f"must be finite in {array.dtype}", np.isfinite)


def check_machine(machine: Any, layers: int | None = None) -> None:
    """Refuse what is no `Machine`, or not one of so many layers."""
    if not isinstance(machine, Machine):
        raise ValueError(f"machine must be a tapcore.Machine, got {type(machine).__name__}")
    if layers is not None and len(machine.layers) != layers:
        raise ValueError(f"machine must have {layers} layers, got {len(machine.layers)}")


def RBM(
    visible: Unit,
    hidden: Unit,
    weights: ArrayLike | None = None,
    sigma: float = 1e-3,
    seed: int | None = None,
    dtype: Literal["float64", "float32"] | Any = "float64",
) -> Machine:
    """Restricted Boltzmann machine: a `Machine` of two layers.

    Parameters
    ----------
    visible, hidden : Unit
        The two layers.
    weights : (n_visible, n_hidden) array_like, optional
        The couplings W. Drawn from N(0, sigma^2) when not given, as W(0) in Alg. 2.
    sigma : float
        Standard deviation of the drawn weights, at least 0; not used when weights are given. It is for visible units
        that are of order 1: for real-valued ones on another scale, weights are divided by it, the standard deviation
        of `Gaussian` units, the width of the interval of `TruncatedGaussian` ones, the size of values other than 0.
    seed : int, optional
        Of the drawn weights, at least 0; drawn anew each time when not given.
    dtype : {"float64", "float32"}
        What the machine is stored and swept in.

    Raises
    ------
    ValueError
        Layers that are not units; weights of the wrong shape or not finite; a negative sigma.
    """
    sigma = checks.number("sigma", sigma, minimum=0)
    for name, layer in (("visible", visible), ("hidden", hidden)):
        if not isinstance(layer, Unit):
            raise ValueError(f"{name} must be a layer of units such as tapcore.Binary(n), got {layer!r}")
    rng = _generator(seed)
    given = _drawn((visible, hidden), sigma, rng) if weights is None else (weights,)
    return Machine((visible, hidden), given, dtype)


def DBM(
    visible: Unit,
    *hidden: Unit,
    weights: Sequence[ArrayLike] | None = None,
    sigma: float = 1e-3,
    seed: int | None = None,
    dtype: Literal["float64", "float32"] | Any = "float64",
) -> Machine:
    """Deep Boltzmann machine: a `Machine` of a visible and two or more hidden layers (App. E).

    Parameters
    ----------
    visible : Unit
    *hidden : Unit
        Hidden layers, the one next to the visible layer first.
    weights : sequence of (n_l, n_{l+1}) array_like, optional
        Couplings of each layer with the next. Drawn from N(0, sigma^2) when not given.
    sigma, seed, dtype
        As for `RBM`.

    Raises
    ------
    ValueError
        Fewer than two hidden layers, layers that are not units; weights of the wrong number or shape or not finite; a
        negative sigma.
    """
    sigma = checks.number("sigma", sigma, minimum=0)
    layers: tuple[Any, ...] = (visible, *hidden)
    for i, layer in enumerate(layers):
        if not isinstance(layer, Unit):
            name = "visible" if i == 0 else f"hidden layer {i}"
            raise ValueError(f"{name} must be a layer of units such as tapcore.Binary(n), got {layer!r}")
    if len(layers) < 3:
        raise ValueError(f"a deep machine has at least two hidden layers, got {len(hidden)}: use tapcore.RBM")
    rng = _generator(seed)
    return Machine(layers, _drawn(layers, sigma, rng) if weights is None else weights, dtype)


def _generator(seed: int | None) -> np.random.Generator:
    return np.random.default_rng(None if seed is None else checks.integer("seed", seed, minimum=0))


def _drawn(layers: Sequence[Unit], sigma: float, rng: np.random.Generator) -> list[NDArray[np.float64]]:
    """Random weights between neighbours, those of the visible layer for its standard coordinates."""
    for below, above in pairwise(layers):
        footprint.check("weights", f"{below.columns} x {above.columns}", below.columns * above.columns * 8)
    drawn = [rng.normal(0.0, sigma, (below.columns, above.columns)) for below, above in pairwise(layers)]
    standard = layers[0].standard()
    if standard is not None:
        drawn[0] /= standard[1][:, None]
    return drawn
