"""TAP log-likelihood of samples (Eq. 38)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore._base import checks
from tapcore._base.jit import kernel
from tapcore._base.threads import for_each_block, split, thread_count
from tapcore.inference.conditional import MOST, clamped_rule, given_samples
from tapcore.machine import Machine, check_machine
from tapcore.units.sites import LOG_Z, Sites, layer_log_z, sites_of

Array = NDArray[Any]

# How close clamped solutions of deep machines are sought.
TOL = 1e-9


def log_likelihood(machine: Machine, X: ArrayLike, free_energy: ArrayLike) -> NDArray[np.float64]:
    """TAP estimate of ln P(x) for each sample.

    ``ln P(x) = sum_i ln phi_i(x_i) + sum_j ln Z_j(sum_i W_ij x_i, 0) + F`` (Eq. 38), F the average of the given free
    energies. In a deeper machine the hidden layers' ln Z given x is no sum any more: its TAP estimate takes its place,
    minus the free energy of the machine clamped to x (App. E).

    Neither is a bound: they drift away from the exact value, first to above it, the longer a machine is trained. With
    64x20 units on 8x8 digits both are -24.6 nats a sample after 10 epochs of rate 0.1; after 100 the estimate is -15.8
    for an exact -18.5, after 300 -23.2 for -19.6. `ais` tells by how much, for small machines `exact.log_likelihood`.

    Parameters
    ----------
    machine : Machine
    X : (n, n_visible) array_like
        Samples in the visible layer's support; any real dtype, boolean, or memory-mapped; read a few thousand rows at a
        time.
    free_energy : float or (K,) array_like
        Free energies of solutions, as in `Solutions.free_energy`; their average stands for -ln Z.

    Returns
    -------
    (n,) float64 array
        In nats. Divide by the number of units of all layers for the per-unit figure.

    Raises
    ------
    ValueError
        Samples of the wrong width, empty or outside the support; free energies that are empty or not finite.

    Notes
    -----
    In float64 also for a float32 machine. Clamped solutions are within 1e-9 of theirs, and ln Z is stationary there.
    """
    check_machine(machine)
    samples = checks.matrix("X", X, machine.layers[0].n, rows="samples")
    machine.layers[0].check_data("X", samples)
    if hasattr(free_energy, "free_energy"):
        raise ValueError("free_energy must be numbers: pass solutions.free_energy")
    energies = checks.real_array("free_energy", free_energy)
    if energies.size == 0:
        raise ValueError("free_energy must hold at least one value, got none")
    checks.finite("free_energy", energies)
    return unchecked_log_likelihood(machine, samples, float(np.mean(energies, dtype=np.float64)))


def unchecked_log_likelihood(
    machine: Machine, X: Array, free_energy: float, tol: float = TOL, most: int = MOST
) -> NDArray[np.float64]:
    """Score samples already known to be in the support; `tol` and `most` sweeps are for clamped solutions."""
    wide = machine.replace(dtype="float64")
    visible, *hidden = wide.layers
    W, sites, rule = wide.weights[0], sites_of(hidden[:1], LOG_Z), clamped_rule(wide, "tap", tol, most)
    out = np.empty(X.shape[0])
    for start, rows in checks.row_blocks(X, machine.dtype):
        x = np.ascontiguousarray(rows, dtype=np.float64)
        part = out[start : start + len(x)]
        if len(hidden) == 1:
            blocks = split(len(x), thread_count())
            fields, log_z = np.empty((len(x), hidden[0].n)), np.empty((len(blocks), hidden[0].n))
            zero = np.zeros(hidden[0].n)
            for_each_block(_hidden_log_z, len(blocks), sites, x, W, zero, blocks, fields, log_z, part)
        else:
            part[:] = given_samples(wide, x, "tap", rule).log_z
        part += visible.log_weight(x).sum(axis=1) + free_energy
    return out


@kernel()
def _hidden_log_z(
    b: int,
    sites: Sites,
    x: Array,
    W: Array,
    zero: Array,
    blocks: NDArray[np.int64],
    fields: Array,
    log_z: Array,
    out: Array,
) -> None:
    """Write sum_j ln Z_j(sum_i W_ij x_i, 0) of each row of block `b`."""
    lo, hi = blocks[b, 0], blocks[b, 0] + blocks[b, 1]
    np.dot(x[lo:hi], W, fields[lo:hi])
    for k in range(lo, hi):
        layer_log_z(sites, 0, fields[k], zero, log_z[b])
        out[k] = log_z[b].sum()
