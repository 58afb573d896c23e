"""Whether solutions attract the iteration: spectral radius of the sweep's Jacobian."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tapcore._base import checks, footprint
from tapcore.equations.compiled import compiled
from tapcore.inference.methods import names
from tapcore.inference.records import Starts
from tapcore.inference.solution import Solutions, check_solutions
from tapcore.inference.solve import rule_for
from tapcore.inference.sweeps.chains import Chains
from tapcore.machine import Machine, check_machine

# Length of a perturbation, the largest change of a mean or variance: its square and the rounding errors over it are
# about as small.
STEP = 1e-5
# Solutions perturbed at a time.
AT_ONCE = 256


def spectral_radius(
    machine: Machine, solutions: Solutions, *, iterations: int = 100, seed: int = 0
) -> NDArray[np.float64]:
    """Factor by which a sweep of the undamped iteration shrinks or stretches a small deviation, in the long run.

    The largest magnitude of an eigenvalue of the Jacobian of a sweep at each solution, by power iteration on central
    differences of sweeps. Below 1 the solution attracts chains, and 1/(1 - radius) sweeps or so bring them closer by a
    factor e; above, the plain iteration leaves it, though damping may not.

    Parameters
    ----------
    machine : Machine
    solutions : Solutions
        Converged ones, of this machine, by ``"tap"``, ``"nmf"`` or ``"tap3"``.
    iterations : int
        Steps of the power iteration, two sweeps each. The growth over the second half counts.
    seed : int
        Of the random first perturbation.

    Returns
    -------
    (K,) float64 array
        From below where eigenvalues of similar magnitude compete; NaN for a solution that is not finite.

    Raises
    ------
    ValueError
        Solutions of another machine, or not finite; another argument outside its range.
    """
    check_machine(machine)
    check_solutions("solutions", solutions, machine.sizes)
    checks.choice("method of solutions", solutions.method, names(lambda m: m.stability))
    iterations = checks.integer("iterations", iterations, minimum=2)
    footprint.check("iterations", iterations, iterations * 8 * min(len(solutions), AT_ONCE))
    rng = np.random.default_rng(checks.integer("seed", seed, minimum=0))
    machine = machine.replace(dtype="float64")
    parts = (solutions[a : a + AT_ONCE] for a in range(0, len(solutions), AT_ONCE))
    return np.concatenate([_radius(machine, part, iterations, rng) for part in parts])


def _radius(machine: Machine, at: Solutions, iterations: int, rng: np.random.Generator) -> NDArray[np.float64]:
    count = len(at)
    rule = rule_for(machine, at.method)
    chains = Chains(machine.sizes, 2 * count, machine.dtype, order=rule.order)
    own = compiled(machine.layers, machine.weights, rule.order)
    here = [np.asarray(x, np.float64) for x in (*at.mean, *at.var)]
    shift = [rng.standard_normal(x.shape) for x in here]
    growth = np.zeros((iterations, count))
    for t in range(iterations):
        most = np.max([np.abs(s).max(axis=1) for s in shift], axis=0)
        step = [s * (STEP / most)[:, None] for s in shift]
        before = np.sqrt(sum((s * s).sum(axis=1) for s in step))
        both = tuple(np.concatenate([x + s, x - s]) for x, s in zip(here, step, strict=True))
        chains.start(Starts(both[: len(at.mean)], both[len(at.mean) :]))
        chains.run(own, rule, 1, 0.0)
        shift = [0.5 * (x[:count] - x[count:]) for x in (*chains.state.mean, *chains.state.var)]
        # Where nothing is left of a perturbation a new one would only be noise.
        growth[t] = np.sqrt(sum((s * s).sum(axis=1) for s in shift)) / before
        shift = [np.where(growth[t, :, None] > 0, s, STEP) for s in shift]
    with np.errstate(divide="ignore"):
        return np.asarray(np.exp(np.log(growth[iterations // 2 :]).mean(axis=0)))
