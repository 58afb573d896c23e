"""TAP log-likelihood of samples (Eq. 38)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore._base import checks
from tapcore._base.arrays import sum_of
from tapcore._base.blas import multiply
from tapcore._base.blocks import block_kernel, run_blocks
from tapcore._base.intrinsics import segment
from tapcore._base.threads import split, thread_count
from tapcore.equations.compiled import Compiled, compiled
from tapcore.inference.conditional import MOST, clamped_rule, given_samples
from tapcore.machine import Machine, check_machine
from tapcore.units.sites import LOG_Z, layer_log_z

Array = NDArray[Any]

# How close clamped solutions of deep machines are sought.
TOL = 1e-9


def log_likelihood(machine: Machine, X: ArrayLike, free_energy: ArrayLike) -> NDArray[np.float64]:
    """TAP estimate of ln P(x) for each sample.

    ``ln P(x) = sum_i ln phi_i(x_i) + sum_j ln Z_j(sum_i W_ij x_i, 0) + F`` (Eq. 38), F the average of the given free
    energies. In a deeper machine the hidden layers' ln Z given x is no sum any more: its TAP estimate takes its place,
    minus the free energy of the machine clamped to x (App. E).

    Neither is a bound: they drift away from the exact value, as a rule first to above it, the longer a machine is
    trained. With 64x20 units on 8x8 digits both are -24.6 nats a sample after 10 epochs of rate 0.1; after 100 the
    estimate is -15.8 for an exact -18.5, after 300 -23.2 for -19.6. `ais` tells by how much, for small machines
    `exact.log_likelihood`.

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
    samples = machine.layers[0].samples("X", X)
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
    rule, own = clamped_rule(wide, "tap", tol, most), compiled(wide.layers[:2], wide.weights[:1], 1)
    own.above().sites.need(LOG_Z)
    out = np.empty(X.shape[0])
    for start, rows in checks.row_blocks(X, machine.dtype):
        x = np.ascontiguousarray(rows, dtype=np.float64)
        part = out[start : start + len(x)]
        if len(hidden) == 1:
            blocks = split(len(x), thread_count())
            fields, log_z = np.empty(len(x) * hidden[0].columns), np.empty((len(blocks), hidden[0].columns))
            job = _HiddenLogZ(own, x.reshape(-1), np.zeros(hidden[0].columns), blocks, fields, log_z, part)
            run_blocks(_hidden_log_z, len(blocks), job)
        else:
            part[:] = given_samples(wide, x, "tap", rule).log_z
        part += visible.log_weight(x).sum(axis=1) + free_energy
    return out


class _HiddenLogZ(NamedTuple):
    """Sums of the hidden units' ln Z given n samples."""

    machine: Compiled
    x: Array  # (n n_visible,) samples
    zero: Array  # (n_hidden,) precisions
    blocks: NDArray[np.int64]  # (blocks, 2) first sample and number of samples
    fields: Array  # (n n_hidden,) scratch
    log_z: Array  # (blocks, n_hidden) scratch
    out: NDArray[np.float64]  # (n,)


@block_kernel
def _hidden_log_z(b: int, job: _HiddenLogZ) -> None:
    """Write sum_j ln Z_j(sum_i W_ij x_i, 0) of each row of block `b`."""
    machine, lo, count = job.machine, job.blocks[b, 0], job.blocks[b, 1]
    n, m = machine.size[0], machine.size[1]
    fields = segment(job.fields, lo * m, count * m)
    multiply(segment(job.x, lo * n, count * n), machine.W, count, False, fields)
    for k in range(count):
        layer_log_z(machine, 1, segment(fields, k * m, m), job.zero, job.log_z[b])
        job.out[lo + k] = sum_of(job.log_z[b])
