"""TAP log-likelihood of samples (Eq. 38)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore import _checks
from tapcore._jit import kernel
from tapcore._threads import for_each_block, split, thread_count
from tapcore.machine import Machine, check_machine
from tapcore.units._sites import LOG_Z, Sites, layer_log_z, sites_of

Array = NDArray[Any]


def log_likelihood(machine: Machine, X: ArrayLike, free_energy: ArrayLike) -> NDArray[np.float64]:
    """TAP estimate of ln P(x) for each sample of an RBM.

    ``ln P(x) = sum_i ln phi_i(x_i) + sum_j ln Z_j(sum_i W_ij x_i, 0) + F`` (Eq. 38), F the average of the given free
    energies.

    Parameters
    ----------
    machine : Machine
        Of two layers.
    X : (n, n_visible) array_like
        Samples in the visible layer's support; any real dtype, boolean, or memory-mapped; read a few thousand rows at a
        time.
    free_energy : float or (K,) array_like
        Free energies of solutions, as in `Solutions.free_energy`; their average stands for -ln Z.

    Returns
    -------
    (n,) float64 array
        In nats. Divide by the number of units of both layers for the per-unit figure.

    Raises
    ------
    ValueError
        A machine of more than two layers; samples of the wrong width, empty or outside the support; free energies that
        are empty or not finite.
    """
    check_machine(machine, layers=2)
    samples = _checks.matrix("X", X, machine.layers[0].n, rows="samples")
    machine.layers[0].check_data("X", samples)
    if hasattr(free_energy, "free_energy"):
        raise ValueError("free_energy must be numbers: pass solutions.free_energy")
    energies = _checks.real_array("free_energy", free_energy)
    if energies.size == 0:
        raise ValueError("free_energy must hold at least one value, got none")
    _checks.finite("free_energy", energies)
    return unchecked_log_likelihood(machine, samples, float(np.mean(energies, dtype=np.float64)))


def unchecked_log_likelihood(machine: Machine, X: Array, free_energy: float) -> NDArray[np.float64]:
    """Score samples already known to be in the support."""
    visible, hidden = (layer.astype(np.float64) for layer in machine.layers)
    W, sites = machine.weights[0].astype(np.float64), sites_of([hidden], LOG_Z)
    out = np.empty(X.shape[0])
    for start, rows in _checks.row_blocks(X):
        x = np.ascontiguousarray(rows, dtype=np.float64)
        part = out[start : start + len(x)]
        blocks = split(len(x), thread_count())
        fields, log_z = np.empty((len(x), hidden.n)), np.empty((len(blocks), hidden.n))
        for_each_block(_hidden_log_z, len(blocks), sites, x, W, np.zeros(hidden.n), blocks, fields, log_z, part)
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
