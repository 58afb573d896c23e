"""What units with an atom at zero share: weight ``(1 - rho) delta(x) + rho slab(x)``."""

from __future__ import annotations

import abc
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore._base import checks
from tapcore._base.intrinsics import stack_array
from tapcore._base.jit import by_type, scalar
from tapcore._base.random import Stream, uniform
from tapcore.special.elementary import log_normal
from tapcore.special.exponential import log1pexp, sigmoid, sigmoid_moments
from tapcore.special.truncnorm.batch import CHUNK
from tapcore.units.interface import row_average
from tapcore.units.parameters import parameter
from tapcore.units.rows import Array
from tapcore.units.shared.real_steps import RealUnit, inside
from tapcore.units.shared.slabs import log_gaussian, moved_gaussian
from tapcore.units.sites import SLAB, call_rows, sites_of

# ln(rho/(1 - rho)) that from_data allows, down and up, with slabs measured in units of the size of their values: for
# any size from 1e-6 to 1e6 rho can then be told from 0 and 1, and by a float32 machine if it is not much below 1.
_MOST_LOGIT_DOWN, _MOST_LOGIT_UP = 66.0, 16.0
# The least rho of columns without zeros.
_LEAST = 1e-36


@by_type
def slab_chunk(site: Any, a: int, z: int, B: Array, A: Array, log_z: Array, mean: Array, var: Array) -> None:
    """Log-normaliser, mean and variance of the slabs of sites a..z, at most CHUNK, for fields B[a:z] and A[a:z]."""


@scalar
def mixed_moments(site: Any, B: Array, A: Array, mean: Array, var: Array) -> None:
    """`row_moments` of atom and slab: ``P m`` and ``P v + P (1 - P) m^2``, P the probability of the slab."""
    zero = np.float64(0.0)
    log_z, m, v = stack_array(CHUNK, zero), stack_array(CHUNK, zero), stack_array(CHUNK, zero)
    for a in range(0, B.size, CHUNK):
        z = min(a + CHUNK, B.size)
        slab_chunk(site, a, z, B, A, log_z, m, v)
        rho, to_mean, to_var = site.rho[a:z], mean[a:z], var[a:z]
        for i in range(z - a):
            r = np.float64(rho[i])
            p, both = sigmoid_moments(log_normal(r) - log_normal(1.0 - r) + log_z[i])
            to_mean[i] = p * m[i]
            to_var[i] = p * v[i] + (both * m[i]) * m[i]  # m^2 may overflow where both is 0


@scalar
def mixed_log_z(site: Any, B: Array, A: Array, log_z: Array) -> None:
    """`row_log_z` of atom and slab: ``ln(1 - rho + rho I)``."""
    zero = np.float64(0.0)
    log_slab, m, v = stack_array(CHUNK, zero), stack_array(CHUNK, zero), stack_array(CHUNK, zero)
    for a in range(0, B.size, CHUNK):
        z = min(a + CHUNK, B.size)
        slab_chunk(site, a, z, B, A, log_slab, m, v)
        rho, to = site.rho[a:z], log_z[a:z]
        for i in range(z - a):
            r = np.float64(rho[i])
            log_atom = log_normal(1.0 - r)
            to[i] = log_atom + log1pexp(log_normal(r) - log_atom + log_slab[i])


@by_type
def slab_cumulants(site: Any, a: int, z: int, B: Array, A: Array, third: Array, fourth: Array) -> None:
    """Third and fourth cumulants of the slabs of sites a..z, at most CHUNK."""


@scalar
def mixed_cumulants(site: Any, B: Array, A: Array, third: Array, fourth: Array) -> None:
    """`row_cumulants` of atom and slab, by the law of total cumulance."""
    zero = np.float64(0.0)
    log_z, m, v = stack_array(CHUNK, zero), stack_array(CHUNK, zero), stack_array(CHUNK, zero)
    k3, k4 = stack_array(CHUNK, zero), stack_array(CHUNK, zero)
    for a in range(0, B.size, CHUNK):
        z = min(a + CHUNK, B.size)
        slab_chunk(site, a, z, B, A, log_z, m, v)
        slab_cumulants(site, a, z, B, A, k3, k4)
        to_third, to_fourth = third[a:z], fourth[a:z]
        for i in range(z - a):
            r = np.float64(site.rho[a + i])
            # Cumulants of which of the two it is.
            p, c2 = sigmoid_moments(log_normal(r) - log_normal(1.0 - r) + log_z[i])
            c3, c4 = c2 * (1.0 - (p + p)), c2 * (1.0 - 6.0 * c2)
            mean, var = m[i], v[i]
            to_third[i] = p * k3[i] + 3.0 * c2 * mean * var + c3 * mean * mean * mean
            to_fourth[i] = (
                p * k4[i] + c2 * (4.0 * mean * k3[i] + 3.0 * var * var)
                + 6.0 * c3 * mean * mean * var + c4 * mean * mean * mean * mean
            )  # fmt: skip


@by_type
def slab_draw(site: Any, i: int, s: float, b: float, stream: Stream) -> Any:
    """One value of the slab of site i, ``exp(-s x^2/2 + b x)``."""


@scalar
def mixed_draw(site: Any, B: Array, A: Array, stream: Stream, x: Array) -> None:
    """`row_draw` of atom and slab: which of the two, then, where needed, a value of the slab."""
    zero = np.float64(0.0)
    log_z, m, v = stack_array(CHUNK, zero), stack_array(CHUNK, zero), stack_array(CHUNK, zero)
    for a in range(0, B.size, CHUNK):
        z = min(a + CHUNK, B.size)
        slab_chunk(site, a, z, B, A, log_z, m, v)
        for i in range(a, z):
            r = np.float64(site.rho[i])
            p = sigmoid(log_normal(r) - log_normal(1.0 - r) + log_z[i - a])
            value = p
            if p == p:
                value = zero
                if uniform(stream) < p:
                    s, b = np.float64(A[i]) + np.float64(site.V[i]), np.float64(B[i]) + np.float64(site.U[i])
                    value = slab_draw(site, i, s, b, stream)
            x[i] = value


@scalar
def slab_probability(site: Any, B: Array, A: Array, probability: Array) -> None:
    """`row_slab` of atom and slab."""
    zero = np.float64(0.0)
    log_z, m, v = stack_array(CHUNK, zero), stack_array(CHUNK, zero), stack_array(CHUNK, zero)
    for a in range(0, B.size, CHUNK):
        z = min(a + CHUNK, B.size)
        slab_chunk(site, a, z, B, A, log_z, m, v)
        rho, to = site.rho[a:z], probability[a:z]
        for i in range(z - a):
            r = np.float64(rho[i])
            to[i] = sigmoid(log_normal(r) - log_normal(1.0 - r) + log_z[i])


class SpikeSlab(RealUnit):
    """A layer with an atom at zero: its `names` begin with "rho"."""

    rho = parameter("rho", "Weights of the slabs")
    U = parameter("U", "Fields of the slabs")
    V = parameter("V", "Precisions of the slabs")

    @classmethod
    def check_parameters(cls, parameters: dict[str, Array]) -> None:
        """Raise ValueError unless every rho lies between 0 and 1."""
        least = np.finfo(np.float64).tiny
        checks.every("rho", parameters["rho"], "must lie inside (0, 1)", lambda r: (r >= least) & (r < 1))

    @classmethod
    def with_slab_probability(cls, n: int, probability: ArrayLike, **slab: ArrayLike) -> Self:
        """Layer in which, at B = A = 0, each x differs from 0 with the given probability.

        rho itself is the weight of a slab that is not normalised: with I0 its integral, the probability of ``x != 0``
        is ``rho I0/(1 - rho + rho I0)``.

        Parameters
        ----------
        n : int
            Number of units.
        probability : float or (n,) array_like
            Between 0 and 1, both excluded.
        **slab
            The other parameters of the constructor.

        Raises
        ------
        ValueError
            As the constructor; also where the rho that it takes is 0 or 1 to the last digit.
        """
        wanted = checks.per_site("probability", probability, n)
        checks.every("probability", wanted, "must lie inside (0, 1)", lambda r: (r > 0) & (r < 1))
        even = cls(n, rho=0.5, **slab)
        return cls(n, rho=rho_for(wanted, even.log_slab()), **slab)

    @abc.abstractmethod
    def log_slab(self) -> Array:
        """Log of each slab's integral at B = A = 0, (n,)."""

    def nonzero_probability(self, B: ArrayLike, A: ArrayLike) -> Array:
        """Probability of ``x != 0`` in ``phi(x) exp(B x - A x^2/2)``, normalised.

        Parameters
        ----------
        B, A : array_like
            Fields and precisions, broadcasting to (..., n).

        Returns
        -------
        (..., n) array
            NaN where the slab cannot be normalised.

        Raises
        ------
        ValueError
            B and A do not broadcast to (..., n).
        """
        b, a = self.check_fields(B, A)
        out = np.empty(b.shape, self.dtype)
        call_rows(sites_of([self], SLAB), SLAB, *(x.reshape(-1, self.n) for x in (b, a, out)))
        return out

    def log_weight(self, x: ArrayLike) -> Array:
        """Log of the weight, (..., n): ``ln(1 - rho)`` for the atom at 0, ``ln rho + U x - V x^2/2`` elsewhere.

        -inf outside the support. The two are of different kinds, a probability and a density.
        """
        slab, within, inside = log_gaussian(self, x)
        return np.where(inside, np.where(within == 0, np.log1p(-self.rho), np.log(self.rho) + slab), -np.inf)

    def sample(self, B: ArrayLike, A: ArrayLike, rng: np.random.Generator) -> Array:
        """Draw 0, or from the slab, in proportion to their weights; (..., n)."""
        checks.generator("rng", rng)
        p = self.nonzero_probability(B, A)
        slab = self.sample_slab(B, A, rng)
        drawn = np.where(rng.random(p.shape) < p, slab, 0)
        return np.where(np.isnan(p), np.nan, drawn).astype(self.dtype)

    @abc.abstractmethod
    def sample_slab(self, B: ArrayLike, A: ArrayLike, rng: np.random.Generator) -> Array:
        """Draw from the slabs alone, in fields `B` and precisions `A`, by the generator `rng`; (..., n)."""

    def statistics(self, mean: Array, var: Array, B: Array, A: Array, weights: Array | None = None) -> dict[str, Array]:
        """Averages, alike or by `weights`, of the derivatives for rho, x for U and ``-x^2/2`` for V."""
        p = row_average(self.nonzero_probability(B, A), weights)
        return {"rho": self._rho_slope(p), **super().statistics(mean, var, B, A, weights)}

    def data_statistics(self, X: Array) -> dict[str, Array]:
        """Averages of the derivatives for rho, x for U and ``-x^2/2`` for V."""
        p = (X != 0).mean(axis=0, dtype=self.dtype)
        return {"rho": self._rho_slope(p), **super().data_statistics(X)}

    def parameter_slopes(self, slopes: Array) -> dict[str, Array]:
        """As for other units, and for rho, of which the slab's weight is made."""
        return {"rho": self._rho_slope(slopes[2]), **super().parameter_slopes(slopes)}

    def _rho_slope(self, p: Array) -> Array:
        """Average of d ln phi/d rho: 1/rho on the slab and -1/(1 - rho) on the atom."""
        return np.asarray((p - self.rho) / (self.rho * (1 - self.rho)))

    def _moved(self, parameters: dict[str, Array], shift: Array, scale: Array) -> dict[str, Array]:
        rho = parameters["rho"]
        # The slab's integral grows with the scale; the atom's weight does not.
        rho = rho / (rho + (1 - rho) * scale)
        ends = {name: scale * parameters[name] for name in self.fixed}
        return {"rho": rho, **moved_gaussian(parameters, np.zeros_like(scale), scale), **ends}

    def moved(self, shift: Array, scale: Array) -> Self:
        """Layer of ``x = scale z``, where this one is of z: the atom stays at 0."""
        made = super().moved(shift, scale)
        return made.with_parameters({**made.parameters, "rho": inside(made.rho)})

    def has_density(self, x: Array) -> NDArray[np.bool_]:
        """Those of the slab."""
        return np.asarray(x != 0)

    def astype(self, dtype: Any) -> Self:
        """Copy with parameters of `dtype`; ValueError where that rounds rho to 0 or 1."""
        made = super().astype(dtype)
        least = np.finfo(made.dtype).tiny
        rule = f"must lie inside (0, 1) in {made.dtype} (use float64, or rescale the data)"
        checks.every("rho", made.rho, rule, lambda r: (r >= least) & (r < 1))
        return made


def rho_for(probability: Array, log_slab: Array) -> Array:
    """Weight rho with which ``x != 0`` has that probability, for slabs of these log-integrals."""
    return np.asarray(sigmoid(np.log(probability) - np.log1p(-probability) - log_slab))


def rho_of_data(probability: Array, log_slab: Array, no_zeros: NDArray[np.bool_]) -> Array:
    """`rho_for`; ValueError, naming the first such column, where it is 0 or 1 to the last digit.

    Where data have no zeros it may be larger: zeros are then even less likely.
    """
    rho = rho_for(probability, log_slab)
    rho = np.where(no_zeros, np.maximum(rho, _LEAST), rho)
    outside = ~((rho >= np.finfo(np.float64).tiny) & (rho < 1))
    if outside.any():
        (i,) = checks.first_index(outside)
        raise ValueError(
            f"X must have columns of moderate size, such as 1e-6 to 1e6: X[:, {i}] takes a slab of weight rho = "
            f"{rho[i]!s}, not inside (0, 1); rescale it"
        )
    return rho


def representable(probability: Array, log_slab: Array, no_zeros: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where `rho_for` and 1 less it are normal numbers with room to spare, `log_slab` being in units of the scale.

    Also where data have no zeros and it is too small.
    """
    logit = np.log(probability) - np.log1p(-probability) - log_slab
    return np.asarray(((logit > -_MOST_LOGIT_DOWN) | no_zeros) & (logit < _MOST_LOGIT_UP))
