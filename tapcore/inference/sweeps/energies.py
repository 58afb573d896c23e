"""Sweeps that end with the free energies of their chains, which cost no matrix product besides."""

from __future__ import annotations

from typing import Any, NamedTuple

from tapcore._base.arrays import copy
from tapcore._base.blocks import Job, block_kernel, call_block, no_calls
from tapcore.equations.energy import Swept, swept_energies
from tapcore.equations.layers import row_of
from tapcore.inference.sweeps.kernels import ACTIVE_ROWS, FIRST, LEFT, Sweeps, sweep_block
from tapcore.units.sites import LOG_Z

# Places of `sweep_block` and `swept_energies` in the calls.
SWEEP, ENERGIES = range(2)


class Ending(NamedTuple):
    """Sweeps, and what finds free energies after them."""

    sweeps: Sweeps
    energies: Swept
    calls: Any  # `sweep_block` and `swept_energies`


@block_kernel
def sweep_to_energies(b: int, job: Ending) -> None:
    """Sweep block `b` as often as its sweeps to go say, and write the free energies of its chains."""
    sweeps, energies = job.sweeps, job.energies
    sweeps.blocks[b, LEFT] -= 1
    call_block(job.calls[SWEEP], b, sweeps)
    for layer in range(0, sweeps.machine.size.size, 2):
        for k in range(sweeps.blocks[b, FIRST], sweeps.blocks[b, FIRST] + sweeps.blocks[b, ACTIVE_ROWS]):
            now = row_of(sweeps.chains, sweeps.chains.mean, layer, k)
            copy(now, row_of(sweeps.chains, energies.before, layer, energies.chain[k]))
    sweeps.blocks[b, LEFT] = 1
    call_block(job.calls[SWEEP], b, sweeps)
    call_block(job.calls[ENERGIES], b, energies)


def ending(sweeps: Sweeps, energies: Swept) -> Job:
    """What `sweep_to_energies` is given."""
    job = Job(Ending(sweeps, energies, no_calls(2)))
    job.link(SWEEP, sweep_block, "sweeps")
    job.link(ENERGIES, swept_energies, "energies")
    energies.machine.sites.need(LOG_Z)
    return job
