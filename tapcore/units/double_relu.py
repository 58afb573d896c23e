"""Double rectified units: weights ``exp(-V x^2/2 + U x)`` with other parameters on either side of 0."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore._base import checks
from tapcore._base.jit import kernel, scalar
from tapcore._base.random import Stream, uniform
from tapcore.units.interface import Unit
from tapcore.units.parameters import parameter
from tapcore.units.rows import Array, row_cumulants, row_draw, row_log_z, row_moments
from tapcore.units.shared.half_line_fit import fit_columns, sums
from tapcore.units.shared.half_lines import both_cumulants, both_sides, draw_side, sides_of
from tapcore.units.shared.real_steps import RealSteps, Slab, multiply

# Parameters of either side, and which way it lies.
SIDES = {"pos": 1.0, "neg": -1.0}
# Of a mean square on a half-line, in squares of the mean; averages, in spreads, below which a side hardly ever occurs;
# and the least variance, of that which the precision gives alone.
_SQUARE, _HARDLY, _NARROW = 1.5, 1e-6, 1e-2


class DoubleReLUSite(NamedTuple):
    """Parameters of a double rectified layer, as kernels take them."""

    U_pos: Array
    V_pos: Array
    U_neg: Array
    V_neg: Array


@scalar
def _whole(site: DoubleReLUSite, i: int, B: Array, A: Array) -> Any:
    """Precisions and fields of site i: (s_pos, b_pos, s_neg, b_neg)."""
    a, b = np.float64(A[i]), np.float64(B[i])
    return (
        a + np.float64(site.V_pos[i]), b + np.float64(site.U_pos[i]),
        a + np.float64(site.V_neg[i]), b + np.float64(site.U_neg[i]),
    )  # fmt: skip


@row_moments.register(DoubleReLUSite)
def _row_moments(site: DoubleReLUSite, B: Array, A: Array, mean: Array, var: Array) -> None:
    for i in range(B.size):
        s_pos, b_pos, s_neg, b_neg = _whole(site, i, B, A)
        _, mean[i], var[i] = both_sides(s_pos, b_pos, s_neg, b_neg)


@row_log_z.register(DoubleReLUSite)
def _row_log_z(site: DoubleReLUSite, B: Array, A: Array, log_z: Array) -> None:
    for i in range(B.size):
        s_pos, b_pos, s_neg, b_neg = _whole(site, i, B, A)
        log_z[i], _, _ = both_sides(s_pos, b_pos, s_neg, b_neg)


@row_cumulants.register(DoubleReLUSite)
def _row_cumulants(site: DoubleReLUSite, B: Array, A: Array, third: Array, fourth: Array) -> None:
    for i in range(B.size):
        s_pos, b_pos, s_neg, b_neg = _whole(site, i, B, A)
        third[i], fourth[i] = both_cumulants(s_pos, b_pos, s_neg, b_neg)


@row_draw.register(DoubleReLUSite)
def _row_draw(site: DoubleReLUSite, B: Array, A: Array, stream: Stream, x: Array) -> None:
    for i in range(B.size):
        s_pos, b_pos, s_neg, b_neg = _whole(site, i, B, A)
        p = sides_of(s_pos, b_pos, s_neg, b_neg).positive
        if p != p:
            x[i] = np.nan
        elif uniform(stream) < p:
            x[i] = draw_side(stream, s_pos, b_pos)
        else:
            x[i] = -draw_side(stream, s_neg, -b_neg)


@kernel()
def _add_sides(site: DoubleReLUSite, B: Array, A: Array, weights: Array, out: Array) -> None:
    """Add to `out` (4, n) averages over rows (K, n), by weights (K,), of x and ``-x^2/2`` on either side."""
    for k in range(B.shape[0]):
        for i in range(B.shape[1]):
            s_pos, b_pos, s_neg, b_neg = _whole(site, i, B[k], A[k])
            x = sides_of(s_pos, b_pos, s_neg, b_neg)
            right, left = weights[k] * x.positive, weights[k] * x.negative
            out[0, i] += right * x.right
            out[1, i] -= 0.5 * right * (x.right_var + x.right * x.right)
            out[2, i] -= left * x.left
            out[3, i] -= 0.5 * left * (x.left_var + x.left * x.left)


class DoubleReLU(Unit):
    """Units on the whole line with weight ``exp(-V x^2/2 + U x)``, U and V being others for x >= 0 and for x < 0.

    With equal sides they are `Gaussian`; else one-sided, heavier on a side, or with two modes. As hidden units over
    categorical ones they learn sequences well. With l the log-masses of the two half-lines at ``s = A + V`` and
    ``b = B + U``, m their means and v their variances: ``ln Z = ln(e^l_pos + e^l_neg)``, ``P = sigm(l_pos - l_neg)``,
    mean ``P m_pos + (1 - P) m_neg``, variance ``P v_pos + (1 - P) v_neg + P (1 - P) (m_pos - m_neg)^2``; NaN unless
    both precisions stay positive.

    Parameters
    ----------
    n : int
        Number of units.
    U_pos, V_pos : float or (n,) array_like
        Fields, any finite value, and precisions, positive, of x >= 0.
    U_neg, V_neg : float or (n,) array_like
        Those of x < 0.

    Raises
    ------
    ValueError
        `n` below 1, a parameter of the wrong shape or not finite, or a precision not positive.

    Notes
    -----
    Largest error among 60 points certified with 32 digits, precisions from 1e-3 to 1e4: 1e-15 of ln Z, of the mean
    relative to the larger of it and the spread, and of the variance. Training moves the logarithms of precisions.
    """

    names = ("U_pos", "V_pos", "U_neg", "V_neg")
    site_type = DoubleReLUSite
    support = "finite"

    U_pos = parameter("U_pos", "Fields of x >= 0")
    V_pos = parameter("V_pos", "Precisions of x >= 0")
    U_neg = parameter("U_neg", "Fields of x < 0")
    V_neg = parameter("V_neg", "Precisions of x < 0")

    def __init__(
        self, n: int, U_pos: ArrayLike = 0.0, V_pos: ArrayLike = 1.0, U_neg: ArrayLike = 0.0, V_neg: ArrayLike = 1.0
    ) -> None:
        super().__init__(n, U_pos=U_pos, V_pos=V_pos, U_neg=U_neg, V_neg=V_neg)

    @classmethod
    def check_parameters(cls, parameters: dict[str, Array]) -> None:
        """Raise ValueError unless all precisions are positive."""
        for name in ("V_pos", "V_neg"):
            checks.every(name, parameters[name], "must be positive", lambda v: v > 0)

    def bounds(self) -> tuple[Array, Array]:
        """Means may be any real numbers."""
        return np.full(1, -np.inf), np.full(1, np.inf)

    def tail_precision(self) -> Array | None:
        """The smaller of the two."""
        return np.minimum(self.V_pos, self.V_neg)

    def has_density(self, x: Array) -> NDArray[np.bool_]:
        """All do."""
        return np.ones(np.shape(x), np.bool_)

    def log_weight(self, x: ArrayLike) -> Array:
        """Log of the weight; (..., n)."""
        array = checks.real_array("x", x)
        values = self.rounded(array)
        inside = self.contains(values)
        within = np.where(inside, values, 0).astype(np.result_type(array, values))
        U, V = np.where(within >= 0, self.U_pos, self.U_neg), np.where(within >= 0, self.V_pos, self.V_neg)
        return np.where(inside, (U - 0.5 * V * within) * within, -np.inf)

    @classmethod
    def from_data(cls, X: ArrayLike) -> Self:
        """Maximum likelihood, column by column: the first two moments of the values on either side of 0.

        One imaginary sample of a Gaussian with the column's root mean square keeps parameters finite.

        Parameters
        ----------
        X : (samples, n) array_like
            Any real dtype, boolean, or memory-mapped; read a bounded number of rows at a time.

        Raises
        ------
        ValueError
            Wrong shape, or an entry that is not finite.
        """
        array = checks.matrix("X", X, None, rows="samples")
        cls(array.shape[1]).check_data("X", array)
        return cls(array.shape[1], *fit_columns(array, 2))

    def random_means(self, count: int, rng: np.random.Generator) -> Array:
        """Means drawn from the units' own law: (count, n)."""
        return self.sample(0.0, np.zeros((count, self.n)), rng)

    def standard(self) -> tuple[Array, Array]:
        """From 0, in root mean squares."""
        _, mean, var = self.astype(np.float64).moments(0.0, 0.0)
        return np.zeros(self.n), np.sqrt(mean * mean + var)

    def _moved(self, parameters: dict[str, Array], shift: Array, scale: Array) -> dict[str, Array]:
        return {name: p / scale ** (1 if name[0] == "U" else 2) for name, p in parameters.items()}

    def statistics(self, mean: Array, var: Array, B: Array, A: Array, weights: Array | None = None) -> dict[str, Array]:
        """Averages over rows of x and ``-x^2/2`` on either side, with the other side as 0; by `weights` (K,)."""
        by = np.full(len(B), 1 / len(B)) if weights is None else np.asarray(weights, np.float64)
        found = np.zeros((4, self.n))
        site = DoubleReLUSite(*(self.parameters[name] for name in self.names))
        _add_sides(site, np.ascontiguousarray(B), np.ascontiguousarray(A), by, found)
        return dict(zip(self.names, found.astype(self.dtype), strict=True))

    def data_statistics(self, X: Array) -> dict[str, Array]:
        """Averages of x and ``-x^2/2`` on either side over the samples `X`."""
        return dict(zip(self.names, sums(X), strict=True))

    def parameter_slopes(self, slopes: Array) -> dict[str, Array]:
        """ValueError: what a side changes is not told by derivatives with fields."""
        raise ValueError("gradient 'rbp' does not know the parameters of DoubleReLU layers: use 'tap'")

    def add_fields(self, parameters: dict[str, Array], fields: Array) -> None:
        """Change `parameters`, in place, as if `fields` (n,) were added to what neighbours send."""
        parameters["U_pos"] += fields
        parameters["U_neg"] += fields

    def field_statistic(self, statistics: dict[str, Array]) -> Array:
        """The average of x, (n,): those of both sides."""
        return np.asarray(statistics["U_pos"] + statistics["U_neg"])

    def ascend(self, parameters: dict[str, Array], gradient: dict[str, Array], rate: float) -> None:
        """Take a training step in place (Alg. 2): in U and ln V of either side."""
        for side in SIDES:
            parameters[f"U_{side}"] += rate * gradient[f"U_{side}"]
            V = parameters[f"V_{side}"]
            with np.errstate(over="ignore"):
                multiply(V, rate * V * gradient[f"V_{side}"])

    def steps(self, model: dict[str, Array]) -> DoubleSteps:
        """Coordinates that suit the law with the averages `model`: those of real units, on either side."""
        return DoubleSteps(self, model)


class DoubleSteps:
    """Coordinates of the parameters of a layer: those of `RealSteps` for ``|x|`` on either side."""

    def __init__(self, layer: DoubleReLU, model: dict[str, Array]) -> None:
        self.sides = {}
        for side, way in SIDES.items():
            U, V = (layer.parameters[f"{name}_{side}"].astype(np.float64) for name in "UV")
            self.sides[side] = RealSteps(
                {"U": way * U, "V": V}, *_law(way * model[f"U_{side}"], model[f"V_{side}"], V), V
            )

    def slopes(self, gradient: dict[str, Array]) -> dict[str, Array]:
        """Derivatives with respect to the coordinates."""
        made: dict[str, Array] = {}
        for side, way in SIDES.items():
            found = self.sides[side].slopes({"U": way * gradient[f"U_{side}"], "V": gradient[f"V_{side}"]})
            made |= {f"{name}_{side}": x for name, x in found.items()}
        return made

    def take(self, parameters: dict[str, Array], directions: dict[str, Array], rate: float) -> None:
        """Move `parameters` in place, precisions within their range."""
        for side, way in SIDES.items():
            own = {"U": way * parameters[f"U_{side}"], "V": parameters[f"V_{side}"]}
            self.sides[side].take(own, {name: directions[f"{name}_{side}"] for name in "UV"}, rate)
            parameters[f"U_{side}"][:] = way * own["U"]


def _law(first: Array, second: Array, V: Array) -> tuple[Slab, Array]:
    """The law of ``|x|`` on one side, from averages of it and of ``-x^2/2`` with the other side as 0, and its centre.

    What share that side has they do not tell; but on a half-line the square is between one and two squares of the mean.
    """
    mean, square = np.maximum(first.astype(np.float64), 0), np.maximum(-2 * second.astype(np.float64), 0)
    some = (mean > _HARDLY / np.sqrt(V)) & (square > 0)
    share = np.where(some, np.minimum(_SQUARE * mean * mean / np.where(some, square, 1.0), 1.0), 1.0)
    # A side that hardly ever occurs keeps the scale of its precision.
    mean = np.where(some, mean / share, 1 / np.sqrt(V))
    var = np.where(some, np.maximum(square / share - mean * mean, _NARROW / V), 1 / V)
    return Slab(np.ones_like(V), mean, var), mean
