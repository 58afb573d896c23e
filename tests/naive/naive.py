"""Readable loop reference of the TAP equations: plain Python and float64, one formula at a time, no speed.

Equation numbers are those of the paper. A machine is a chain of layers: `layers[l]` is a list of sites (dicts such as
`{"kind": "binary", "U": 0.3}`) and `weights[l]` an array of shape (n_l, n_{l+1}) between layers l and l+1; a restricted
Boltzmann machine has two layers. Site weights are not normalised, as in the library.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import naive_real
import naive_third
import numpy as np

Site = dict[str, Any]
Layers = Sequence[Sequence[Site]]
Weights = Sequence[np.ndarray]
Values = list[np.ndarray]  # one array of shape (n_l,) a layer

METHODS = ("tap", "nmf", "tap3")


# One site: Z(B, A) = sum over x of phi(x) exp(B x - A x^2/2)


def _sigmoid(z: float) -> float:
    if z >= 0.0:
        return 1.0 / (1.0 + math.exp(-z))
    return math.exp(z) / (1.0 + math.exp(z))


def _softplus(z: float) -> float:
    """ln(1 + e^z) without overflow."""
    return max(z, 0.0) + math.log1p(math.exp(-abs(z)))


def _binary_z(B: float, A: float, site: Site) -> float:
    return B + site["U"] - A / 2.0  # x^2 = x on {0, 1}


@dataclass(frozen=True)
class Kind:
    """What a kind of unit needs: the first three and `log_weight` take the site last."""

    log_z: Callable[[float, float, Site], float]  # (B, A, site)
    mean: Callable[[float, float, Site], float]  # f_a = d ln Z / dB
    var: Callable[[float, float, Site], float]  # f_c = d f_a / dB
    support: tuple[float, ...] | None  # the states, None where they cannot be listed
    log_weight: Callable[[float, Site], float]  # ln phi(x), x inside the support


def _spin_log_z(B: float, A: float, site: Site) -> float:
    b = B + site["U"]
    return abs(b) + math.log1p(math.exp(-2.0 * abs(b))) - A / 2.0  # ln(2 cosh b) - A/2, as x^2 = 1


def _spin_var(B: float, A: float, site: Site) -> float:
    b = B + site["U"]
    return 4.0 * _sigmoid(2.0 * b) * _sigmoid(-2.0 * b)  # 1 - tanh(b)^2 without cancellation


KINDS: dict[str, Kind] = {
    "binary": Kind(
        log_z=lambda B, A, site: _softplus(_binary_z(B, A, site)),
        mean=lambda B, A, site: _sigmoid(_binary_z(B, A, site)),
        var=lambda B, A, site: _sigmoid(_binary_z(B, A, site)) * _sigmoid(-_binary_z(B, A, site)),
        support=(0.0, 1.0),
        log_weight=lambda x, site: site["U"] * x,
    ),
    "spin": Kind(
        log_z=_spin_log_z,
        mean=lambda B, A, site: math.tanh(B + site["U"]),
        var=_spin_var,
        support=(-1.0, 1.0),
        log_weight=lambda x, site: site["U"] * x,
    ),
}
KINDS |= {kind: Kind(*functions) for kind, functions in naive_real.KINDS.items()}


def log_z(site: Site, B: float = 0.0, A: float = 0.0) -> float:
    """ln Z(B, A) of one site."""
    return KINDS[site["kind"]].log_z(B, A, site)


def mean(site: Site, B: float = 0.0, A: float = 0.0) -> float:
    """f_a(B, A) of one site."""
    return KINDS[site["kind"]].mean(B, A, site)


def var(site: Site, B: float = 0.0, A: float = 0.0) -> float:
    """f_c(B, A) of one site."""
    return KINDS[site["kind"]].var(B, A, site)


def log_weight(site: Site, x: float) -> float:
    """ln phi(x) of one site, -inf outside a listed support."""
    kind = KINDS[site["kind"]]
    if kind.support is not None and x not in kind.support:
        return -math.inf
    return kind.log_weight(x, site)


# Fixed points


@dataclass
class State:
    """Means a and variances c of every layer."""

    mean: Values
    var: Values

    def copy(self) -> State:
        return State([a.copy() for a in self.mean], [c.copy() for c in self.var])


def start(layers: Layers, x0: Sequence[float] | np.ndarray) -> State:
    """Eqs. 36-37 and Alg. 1: a_v = x0, c_v = 0; zeros in all other layers."""
    state = State([np.zeros(len(layer)) for layer in layers], [np.zeros(len(layer)) for layer in layers])
    state.mean[0][:] = x0
    return state


def neighbours(weights: Weights, layer: int, i: int) -> list[tuple[int, int, float]]:
    """(layer, index, weight) of every unit that unit i of `layer` is coupled to."""
    found = []
    if layer > 0:
        found += [(layer - 1, k, float(w)) for k, w in enumerate(weights[layer - 1][:, i])]
    if layer < len(weights):
        found += [(layer + 1, j, float(w)) for j, w in enumerate(weights[layer][i, :])]
    return found


def field(
    layers: Layers, weights: Weights, state: State, layer: int, i: int, method: str = "tap"
) -> tuple[float, float]:
    """(B_i, A_i) of unit i of `layer`, Eqs. 32-34; B carries the unit's own mean of before this update."""
    assert method in METHODS
    B, A = 0.0, 0.0
    near = neighbours(weights, layer, i)
    for other, j, w in near:
        B += w * state.mean[other][j]
        if method != "nmf":
            A -= w**2 * state.var[other][j]
    B += A * state.mean[layer][i]  # the Onsager term
    if method == "tap3" and A != 0.0:  # chains start without variances, and without skewness
        B += naive_third.field(layers, state.mean, layer, i, near)
    return B, A


def all_fields(layers: Layers, weights: Weights, state: State, method: str = "tap") -> tuple[Values, Values]:
    """B and A of every unit of every layer, from one and the same state."""
    pairs = [
        [field(layers, weights, state, layer, i, method) for i in range(len(state.mean[layer]))]
        for layer in range(len(state.mean))
    ]
    B = [np.array([b for b, _ in row]) for row in pairs]
    A = [np.array([a for _, a in row]) for row in pairs]
    return B, A


def sweep(
    layers: Layers,
    weights: Weights,
    state: State,
    method: str = "tap",
    damping: float = 0.0,
    first: bool = False,
    clamped: bool = False,
) -> State:
    """One iteration of Alg. 1: odd layers from even ones, then even layers from odd ones.

    The new value is `damping * old + (1 - damping) * update`, in means and in variances. With `first` the odd layers
    are updated undamped: there is nothing yet to mix with. With `clamped` layer 0 stays as it is.
    """
    state = state.copy()
    for parity in (1, 0):
        d = 0.0 if first and parity == 1 else damping
        for layer in range(parity, len(layers), 2):
            if clamped and layer == 0:
                continue
            # Layers of one parity are not coupled, so the order of units and layers inside a half-sweep is free.
            for i, site in enumerate(layers[layer]):
                B, A = field(layers, weights, state, layer, i, method)
                state.mean[layer][i] = d * state.mean[layer][i] + (1.0 - d) * mean(site, B, A)
                state.var[layer][i] = d * state.var[layer][i] + (1.0 - d) * var(site, B, A)
    return state


def change(old: State, new: State) -> float:
    """The greatest change of any mean or variance."""
    return max(float(np.max(np.abs(q - p))) for p, q in zip([*old.mean, *old.var], [*new.mean, *new.var], strict=True))


def solve(
    layers: Layers,
    weights: Weights,
    x0: Sequence[float] | np.ndarray | State,
    method: str = "tap",
    damping: float = 0.0,
    sweeps: int | None = None,
    tol: float = 1e-14,
    max_sweeps: int = 100_000,
    clamped: bool = False,
) -> State:
    """Fixed point of Alg. 1 from visible means x0 (or from a State, to go on from it).

    With `sweeps` exactly that many; otherwise until no mean or variance moves by more than `tol` in a sweep.
    """
    first = not isinstance(x0, State)
    state = x0.copy() if isinstance(x0, State) else start(layers, x0)
    for _ in range(max_sweeps if sweeps is None else sweeps):
        new = sweep(layers, weights, state, method, damping, first, clamped)
        moved = change(state, new)
        state, first = new, False
        if sweeps is None and moved <= tol:
            return state
    if sweeps is None:
        raise RuntimeError(f"no fixed point to {tol} in {max_sweeps} sweeps, the last one moved {moved}")
    return state


# Free energy, log-likelihood, gradient


def free_energy(layers: Layers, weights: Weights, means: Values, variances: Values, method: str = "tap") -> float:
    """F = -(Eq. 35), B and A taken from the means and variances by Eqs. 32-34; for "nmf" without the W^2 terms."""
    B, A = all_fields(layers, weights, State(means, variances), method)
    minus_f = 0.0
    for layer, sites in enumerate(layers):
        for i, site in enumerate(sites):
            a, c, b, p = means[layer][i], variances[layer][i], B[layer][i], A[layer][i]
            minus_f += log_z(site, b, p) - b * a + p * (a**2 + c) / 2.0
    for bond, W in enumerate(weights):
        for i, j in np.ndindex(*W.shape):
            minus_f += W[i, j] * means[bond][i] * means[bond + 1][j]
            if method != "nmf":
                minus_f += W[i, j] ** 2 * variances[bond][i] * variances[bond + 1][j] / 2.0
            if method == "tap3":
                ends = layers[bond][i], layers[bond + 1][j], means[bond][i], means[bond + 1][j]
                minus_f += W[i, j] ** 3 * naive_third.pair(*ends) / 6.0
    return -float(minus_f)


def hidden_field(weights: Weights, x: Sequence[float] | np.ndarray, j: int) -> float:
    """sum_i W_ij x_i, what hidden unit j of a two-layer machine receives from the sample x."""
    return float(sum(weights[0][i, j] * x[i] for i in range(len(x))))


def _two_layers(layers: Layers) -> None:
    if len(layers) != 2:
        raise ValueError(f"this formula sums the hidden layer exactly and needs 2 layers, not {len(layers)}")


def log_likelihood(layers: Layers, weights: Weights, X: np.ndarray, free_energy: float) -> np.ndarray:
    """Eq. 38, one value a row of X: sum_i ln phi_i(x_i) + sum_j ln Z_j(sum_i W_ij x_i, 0) + F."""
    _two_layers(layers)
    result = np.empty(len(X))
    for m, x in enumerate(X):
        total = free_energy
        for site, value in zip(layers[0], x, strict=True):
            total += log_weight(site, float(value))
        for j, site in enumerate(layers[1]):
            total += log_z(site, hidden_field(weights, x, j), 0.0)
        result[m] = total
    return result


def data_state(layers: Layers, weights: Weights, x: Sequence[float] | np.ndarray) -> State:
    """Visible layer fixed at x, the hidden layer's exact means and variances given x."""
    _two_layers(layers)
    state = start(layers, x)
    for j, site in enumerate(layers[1]):
        B = hidden_field(weights, x, j)
        state.mean[1][j] = mean(site, B, 0.0)
        state.var[1][j] = var(site, B, 0.0)
    return state


def bond_moment(layers: Layers, W: np.ndarray, state: State, bond: int, method: str = "tap") -> np.ndarray:
    """<x_i x_j> across one bond: a_i a_j + W_ij c_i c_j, for "nmf" without the second term."""
    moment = np.empty(W.shape)
    for i, j in np.ndindex(*W.shape):
        moment[i, j] = state.mean[bond][i] * state.mean[bond + 1][j]
        if method != "nmf":
            moment[i, j] += W[i, j] * state.var[bond][i] * state.var[bond + 1][j]
        if method == "tap3":
            ends = layers[bond][i], layers[bond + 1][j], state.mean[bond][i], state.mean[bond + 1][j]
            moment[i, j] += W[i, j] ** 2 * naive_third.pair(*ends) / 2.0
    return moment


def gradient(
    layers: Layers,
    weights: Weights,
    X: np.ndarray,
    solutions: Sequence[State],
    method: str = "tap",
    clamped: Sequence[State] | None = None,
) -> dict[str, list[np.ndarray]]:
    """Eqs. 39-41: {"W": one array a bond, "U": one array a layer}, <statistic>_data - <statistic>_solutions.

    Deeper chains take their data side from `clamped`, one solution with layer 0 held at x for every x (Eqs. E5-E8);
    in a two-layer machine the data side is exact and, as c_v = 0 there, reads <x f_a(W^T x)>.
    """
    data = [data_state(layers, weights, x) for x in X] if clamped is None else list(clamped)
    result: dict[str, list[np.ndarray]] = {"W": [], "U": []}
    for bond, W in enumerate(weights):
        positive = sum(bond_moment(layers, W, state, bond, method) for state in data) / len(data)
        negative = sum(bond_moment(layers, W, state, bond, method) for state in solutions) / len(solutions)
        result["W"].append(positive - negative)
    for layer in range(len(layers)):
        positive = sum(state.mean[layer] for state in data) / len(data)
        negative = sum(state.mean[layer] for state in solutions) / len(solutions)
        result["U"].append(positive - negative)
    return result


Where = tuple[str, int, int] | tuple[str, int, int, int]  # ("U", layer, i) or ("W", bond, i, j)


def shifted(layers: Layers, weights: Weights, where: Where, step: float) -> tuple[list[list[Site]], list[np.ndarray]]:
    """A copy of the machine with one parameter moved by `step`."""
    new_layers = [[dict(site) for site in layer] for layer in layers]
    new_weights = [np.array(W, dtype=np.float64) for W in weights]
    name, part, *index = where
    if name == "W":
        new_weights[part][tuple(index)] += step
    else:
        new_layers[part][index[0]][name] += step
    return new_layers, new_weights


def finite_difference(
    layers: Layers,
    weights: Weights,
    X: np.ndarray,
    solutions: Sequence[State],
    where: Where,
    step: float = 1e-5,
    method: str = "tap",
    damping: float = 0.0,
) -> float:
    """Central difference of the mean log-likelihood of X, F averaged over solutions that are re-converged each time."""
    ends = []
    for sign in (1.0, -1.0):
        moved = shifted(layers, weights, where, sign * step)
        states = [solve(*moved, state, method, damping) for state in solutions]
        energy = sum(free_energy(*moved, state.mean, state.var, method) for state in states) / len(states)
        ends.append(float(np.mean(log_likelihood(*moved, X, energy))))
    return (ends[0] - ends[1]) / (2.0 * step)


# Brute force


@dataclass(frozen=True)
class Exact:
    """Sums over all states of all layers."""

    log_z: float
    mean: Values
    square: Values  # <x^2>
    second: list[np.ndarray]  # <x_i x_j> across every bond


def enumerate_exact(layers: Layers, weights: Weights) -> Exact:
    """ln Z and moments of P(x) = exp(sum over bonds of x W x) prod phi(x) / Z, by adding up every state."""
    sites = [site for layer in layers for site in layer]
    ends = list(itertools.accumulate((len(layer) for layer in layers), initial=0))
    supports = [KINDS[site["kind"]].support for site in sites]
    if any(support is None for support in supports):
        raise ValueError("only machines whose units all have a listed support can be enumerated")
    states, energies = [], []
    for values in itertools.product(*supports):
        x = [np.array(values[ends[layer] : ends[layer + 1]]) for layer in range(len(layers))]
        total = sum(log_weight(site, value) for site, value in zip(sites, values, strict=True))
        total += sum(float(x[bond] @ W @ x[bond + 1]) for bond, W in enumerate(weights))
        states.append(x)
        energies.append(total)
    top = max(energies)
    scale = math.fsum(math.exp(energy - top) for energy in energies)
    means = [np.zeros(len(layer)) for layer in layers]
    squares = [np.zeros(len(layer)) for layer in layers]
    seconds = [np.zeros(W.shape) for W in weights]
    for x, energy in zip(states, energies, strict=True):
        p = math.exp(energy - top) / scale
        for layer, values in enumerate(x):
            means[layer] += p * values
            squares[layer] += p * values**2
        for bond in range(len(weights)):
            seconds[bond] += p * np.outer(x[bond], x[bond + 1])
    return Exact(top + math.log(scale), means, squares, seconds)
