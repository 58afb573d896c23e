"""The front door of inference: `solve`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore._base import checks, footprint
from tapcore.equations.compiled import compiled
from tapcore.equations.energy import evaluate
from tapcore.equations.outside import Given
from tapcore.inference.adaptive.solver import pairs_of_gaussian, solve_adaptive
from tapcore.inference.averages import PAIRS
from tapcore.inference.belief.gradient import pairs_of_messages
from tapcore.inference.belief.solver import solve_relaxed
from tapcore.inference.methods import ADAPTIVE, BELIEF, SWEEPS, TABLE, Method, check_method, names, quoted
from tapcore.inference.outside import checked_fields, held_starts, held_weights
from tapcore.inference.progress import Rule
from tapcore.inference.records import Starts
from tapcore.inference.solution import Solutions, check_solutions, empty_solutions, record
from tapcore.inference.sweeps.chains import pool
from tapcore.machine import Machine, check_machine

CRITERIA = ("distance", "mse")


def solve(
    machine: Machine,
    init: ArrayLike | Solutions,
    *,
    method: str = "tap",
    damping: float | None = None,
    tol: float = 1e-6,
    max_sweeps: int = 10_000,
    acceleration: str | None = "auto",
    criterion: str = "distance",
    fields: Any = None,
) -> Solutions:
    """Find fixed points of TAP, of naive mean field or of their relatives from many starts at once (Alg. 1).

    Parameters
    ----------
    machine : Machine
    init : (K, n_visible) array_like or Solutions
        Visible means, each chain starting there with zero variance and hidden means zero (Eqs. 36, 37); or solutions,
        of this machine or of a similar one, to go on from.
    method : {"tap", "nmf", "tap3", "rbp", "adatap"}
        TAP (second order in the weights, Eqs. 32-34), naive mean field (first), or third order, for layers of binary,
        spin and Gaussian units. Relaxed belief propagation (App. B), between all pairs of units of an RBM. Adaptive TAP
        (App. D), which takes for A what makes the variances those of a Gaussian with the machine's couplings: some 40
        to 200 times the time of a TAP sweep. The last two are in float64 for any machine.
    damping : float in [0, 1), optional
        ``new = damping * old + (1 - damping) * update`` in means and variances. None starts without and raises it for a
        chain that seems to cycle. Relaxed belief propagation damps those of messages; adaptive TAP damps fields and
        precisions instead, None standing for 1/2.
    tol : float
        How far a chain may still be from its solution in any mean, as estimated from its residual and rate of
        contraction. 0 never stops before `max_sweeps`.
    max_sweeps : int
        Most sweeps of a chain.
    acceleration : {"auto", None}
        "auto" extrapolates the fields of a chain (Anderson's method) while every direction in which its last steps
        went is seen to contract; not with `damping`, nor where the plain iteration has few sweeps to go, nor for the
        criterion "mse", relaxed belief propagation or adaptive TAP. It ends at the solutions of the plain iteration,
        but for some starts in a thousand, near the border of two basins. None is the plain iteration.
    criterion : {"distance", "mse"}
        What `tol` bounds: the estimated distance, or the mean over all units of the squared change of the means in one
        sweep, the test of the paper. `Solutions` has both.

    fields : Clamped or sequence, optional
        What acts on the units from outside, for the methods of sweeps ("tap", "nmf", "tap3"): one entry a layer, which
        is None; a pair ``(U, V)`` of array_like that broadcast to (K, n_l) and are added to the layer's own U and V
        (``exp(U x - V x^2/2)`` times its weights, whatever its units); or `Clamped`, which holds units at values. A
        `Clamped` by itself is for the visible layer. Clamped units stay where they are held whatever `init` says.

    Returns
    -------
    Solutions
        Chains in the order of `init`. One that did not converge says so in `converged`; nothing is raised. A chain also
        counts as converged when its residual is down to the rounding errors of the dtype, 8 machine epsilons, where
        more sweeps cannot help; its `distance` tells what is left. With `fields`, `free_energy` is -ln of the sum over
        the states of all units that are free, of the machine's weights times what acts from outside; `B` and `A` are
        what comes from inside.

    Raises
    ------
    ValueError
        `init` of the wrong width, empty, not finite, or outside the range of the means; another argument outside its
        range; `fields` that do not fit the layers, are not finite, or clamp units outside their support.

    Notes
    -----
    Relaxed belief propagation depends on whether a law is written with units in {0, 1} or in {-1, 1}: one of 4 x 3
    units with weights of standard deviation 2 in {0, 1} has the ln Z 13.88 in the one and 12.38 nats in the other. Its
    exact ln Z is 12.07, and that of TAP 12.06 in both.

    Each chain's row does not depend on the other chains except through rounding in the matrix products, about 1e-15.
    """
    rule = checked_rule(machine, method, damping, tol, max_sweeps, acceleration, criterion)
    starts = _checked(machine, init)
    count = len(starts.mean[0])
    # The result, in float64 by some methods.
    footprint.check("init", f"{count} chains", count * 4 * footprint.per_row(machine.sizes, machine.dtype))
    given = None if fields is None else checked_fields(machine, fields, count)
    row = TABLE[method]
    if given is not None and not row.fields:
        raise ValueError(f"fields are for methods {quoted(names(lambda m: m.fields))}, got {method!r}")
    return _ENGINES[row.engine](machine, starts, method, rule, row.damping_unless(damping), given)


def run(
    machine: Machine, starts: Starts, method: str, rule: Rule, damping: float = 0.0, given: Given | None = None
) -> Solutions:
    """Sweep chains from `starts` until each has stopped."""
    count = len(starts.mean[0])
    chains = pool(machine, count, rule)
    found = empty_solutions(machine, count, method)
    own = compiled(machine.layers, machine.weights, rule.order)
    if given is not None:
        starts = held_starts(starts, given)
    for stopped in chains.stream(own, rule, (starts,), damping, given=given):
        record(found, stopped)
    # The fields left by the last sweep are those before its update: evaluate writes the ones that belong to the result.
    found.free_energy[:] = evaluate(machine, found.mean, found.var, rule.order, (found.B, found.A), given, own)
    if given is not None:
        found.free_energy[:] -= held_weights(machine, given)
    return found


def _relaxed(
    machine: Machine, starts: Starts, method: str, rule: Rule, damping: float, given: Given | None
) -> Solutions:
    return solve_relaxed(machine, starts, method, rule, damping)


def _adaptive(
    machine: Machine, starts: Starts, method: str, rule: Rule, damping: float, given: Given | None
) -> Solutions:
    """From fields and precisions, or those that a sweep without variances makes."""
    if not starts.B:
        first = solve(machine, starts.mean[0], method="nmf", max_sweeps=1)
        starts = starts._replace(B=first.B, A=first.A)
    return solve_adaptive(machine, starts, method, rule, damping)


_ENGINES = {SWEEPS: run, BELIEF: _relaxed, ADAPTIVE: _adaptive}
PAIRS.update({BELIEF: pairs_of_messages, ADAPTIVE: pairs_of_gaussian})


def checked_rule(
    machine: Machine, method: str, damping: Any, tol: Any, max_sweeps: Any, acceleration: Any, criterion: Any,
    able: Callable[[Method], bool] | None = None,
) -> Rule:  # fmt: skip
    """How to iterate and when to stop, from a user's arguments; the method must be one that is `able`."""
    check_machine(machine)
    check_method(machine, method, able)
    checks.choice("criterion", criterion, CRITERIA)
    if acceleration is not None and acceleration != "auto":
        raise ValueError(f"acceleration must be 'auto' or None, got {acceleration!r}")
    if damping is not None:
        checks.number("damping", damping, minimum=0, below=1)
    tol = checks.number("tol", tol, minimum=0)
    by_distance = criterion == "distance"
    return rule_for(
        machine, method, adapt=damping is None, by_distance=by_distance, tol=tol,
        accelerate=acceleration is not None and by_distance and tol > 0 and not damping,
        most=checks.integer("max_sweeps", max_sweeps, minimum=1),
    )  # fmt: skip


def rule_for(
    machine: Machine,
    method: str,
    *,
    adapt: bool = False,
    accelerate: bool = False,
    by_distance: bool = True,
    tol: float = 0.0,
    most: int = 2**62,
) -> Rule:
    """How to iterate and when to stop, as far as the method can."""
    row = TABLE[method]
    floor = _floor(np.float64 if row.wide else machine.dtype)
    return Rule(row.order, adapt and row.adapts, accelerate and row.accelerates, by_distance, tol, floor, most)


def _floor(dtype: Any) -> float:
    """Residuals below are rounding errors."""
    return 8 * float(np.finfo(dtype).eps)


def check_start(machine: Machine, name: str, X: Any) -> NDArray[Any]:
    """`X` as visible means for this machine, (K, n_visible)."""
    array = machine.layers[0].rows(name, X, "chains")
    machine.layers[0].check_means(name, array)
    return array


def _checked(machine: Machine, init: ArrayLike | Solutions) -> Starts:
    check_machine(machine)
    if isinstance(init, Solutions):
        check_solutions("init", init, machine.sizes, machine.dtype)
        return Starts(init.mean, init.var, init.B, init.A)
    return Starts((check_start(machine, "init", init),), ())
